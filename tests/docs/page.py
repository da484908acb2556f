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
    """A block of code: `language` as the fence names it, or nothing; `line` counts from 1.

    `note` is what the HTML comment right before it says, or nothing.
    """

    language: str
    text: str
    line: int
    note: str


@dataclass(frozen=True, slots=True)
class Link:
    """A link or picture: `line` is where its paragraph begins, from 1."""

    target: str
    line: int


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: its text, and the pieces of code in it."""

    text: str
    codes: list[str]


def pages() -> list[Path]:
    """Every page."""
    return [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]


class Page:
    """The page in `file`, read once."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._tokens = _MARKDOWN.parse(file.read_text())

    def fences(self) -> list[Fence]:
        """The blocks of code, from top to bottom."""
        found = []
        note = ""
        for token in self._tokens:
            if token.type == "fence":
                found.append(Fence(token.info, token.content, _line(token), note))
            note = ""
            if token.type == "html_block":
                note = token.content.strip().removeprefix("<!--").removesuffix("-->").strip()
        return found

    def spans(self) -> list[str]:
        """The pieces of code within the text, from top to bottom."""
        return [token.content for token, _ in self._inline() if token.type == "code_inline"]

    def rows(self) -> list[list[Cell]]:
        """The rows of all tables, heads too."""
        rows: list[list[Cell]] = []
        for before, token in zip(self._tokens, self._tokens[1:], strict=False):
            if before.type == "tr_open":
                rows.append([])
            if before.type in ("td_open", "th_open"):
                parts = token.children or []
                codes = [part.content for part in parts if part.type == "code_inline"]
                rows[-1].append(Cell("".join(part.content for part in parts), codes))
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
    """The page `text` with `content` between `<!-- part -->` and `<!-- /part -->`.

    Raises ValueError without them.
    """
    begin = f"<!-- {part} -->\n"
    end = f"<!-- /{part} -->\n"
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"the page has no part {part}: it needs {begin.strip()} and {end.strip()}")
    return f"{before}{begin}{content}{end}{after}"
