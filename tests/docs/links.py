"""Check every link inside the repository: python -m tests.docs.links.

Links to other sites are not followed.
"""

import sys
from pathlib import Path
from urllib.parse import unquote

from tests.docs.page import ROOT, Page, pages


def broken(files: list[Path]) -> list[str]:
    """One line for each link of these pages that leads nowhere."""
    complaints = []
    for file in files:
        for link in Page(file).links():
            trouble = _trouble(file, unquote(link.target))
            if trouble:
                complaints.append(f"{file}:{link.line}: {link.target}: {trouble}")
    return complaints


def _trouble(file: Path, target: str) -> str:
    """What is wrong with a link on the page `file`, or nothing."""
    if "://" in target:
        return ""
    path, _, anchor = target.partition("#")
    place = (file.parent / path).resolve() if path else file
    if not place.exists():
        return "there is no such file"
    if anchor and place.suffix != ".md":
        return "only a page has headings"
    if anchor and anchor not in Page(place).anchors():
        return "there is no such heading"
    return ""


def main() -> None:
    """Name every link that leads nowhere; exit with 1 if there is one."""
    files = pages()
    complaints = broken(files)
    for complaint in complaints:
        print(complaint.removeprefix(f"{ROOT}/"))
    sys.exit(f"{len(complaints)} links lead nowhere" if complaints else 0)


if __name__ == "__main__":
    main()
