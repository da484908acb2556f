"""A page of the documentation: what is on it, and the parts of it that programs write."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
_MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True, slots=True)
class Fence:
    """A block of code: `language` as the fence names it, or nothing; `line` counts from 1."""

    language: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Link:
    """A link or picture: `line` is where its paragraph begins, from 1."""

    target: str
    line: int


def pages() -> list[Path]:
    """Every page, the front page first."""
    return [*sorted(ROOT.glob("*.md"), reverse=True), *sorted(ROOT.glob("docs/*.md"))]


class Page:
    """The page in `file`, read once."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._tokens = _MARKDOWN.parse(file.read_text())

    def fences(self) -> list[Fence]:
        """The blocks of code, from top to bottom."""
        return [
            Fence(token.info, token.content, _line(token))
            for token in self._tokens
            if token.type == "fence"
        ]

    def spans(self) -> list[str]:
        """The pieces of code within the text, from top to bottom."""
        return [token.content for token, _ in self._inline() if token.type == "code_inline"]

    def rows(self) -> list[list[list[str]]]:
        """Of each row of each table the pieces of code in each of its cells; heads count as rows."""
        rows: list[list[list[str]]] = []
        for token in self._tokens:
            if token.type == "tr_open":
                rows.append([])
            elif token.type in ("td_open", "th_open"):
                rows[-1].append([])
            elif token.type == "inline" and token.level >= 4 and rows:
                codes = [child for child in token.children or () if child.type == "code_inline"]
                rows[-1][-1].extend(child.content for child in codes)
        return rows

    def links(self) -> list[Link]:
        """The links and pictures, from top to bottom."""
        found = []
        for token, line in self._inline():
            target = token.attrGet("href") or token.attrGet("src")
            if target:
                found.append(Link(str(target), line))
        return found

    def anchors(self) -> set[str]:
        """What a link to this page may name after `#`: each heading, as GitHub spells it."""
        seen: Counter[str] = Counter()
        anchors = set()
        for before, token in zip(self._tokens, self._tokens[1:], strict=False):
            if before.type != "heading_open":
                continue
            text = "".join(child.content for child in token.children or ())
            name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            anchors.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
        return anchors

    def _inline(self) -> Iterator[tuple[Token, int]]:
        for block in self._tokens:
            for token in block.children or ():
                yield token, _line(block)


def _line(token: Token) -> int:
    return token.map[0] + 1 if token.map else 0


def filled(text: str, part: str, content: str) -> str:
    """The page `text` with `content` between `<!-- part -->` and `<!-- /part -->`; raises ValueError without them."""
    begin = f"<!-- {part} -->\n"
    end = f"<!-- /{part} -->\n"
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"the page has no part {part}: it needs {begin.strip()} and {end.strip()}")
    return f"{before}{begin}{content}{end}{after}"
