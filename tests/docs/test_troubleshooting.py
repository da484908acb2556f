"""What docs/troubleshooting.md quotes is what the programs say."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.docs.page import ROOT, Page

# Where the words of who says something stand.
PARTS = {
    "detector": ["bus", "detector"],
    "logger": ["bus", "logger"],
    "processor": ["bus", "processor"],
    "demo": ["demo"],
    "just": ["just"],
    "just up": ["deploy"],
    "enroll": ["identity"],
}
OTHERS = {"edge broker", "cloud broker", "nobody"}  # Mosquitto's words are its own

HEAD = "who says it"
ROWS = [row for row in Page(ROOT / "docs" / "troubleshooting.md").rows() if row[1].text != HEAD]
QUOTES = [
    (part, quote)
    for seen, said_by, _ in ROWS
    for part in said_by.text.split(", ")
    if part in PARTS
    for quote in seen.codes
]


@cache
def words(part: str) -> tuple[str, ...]:
    """Every text in the source of a part."""
    found: list[str] = []
    for place in PARTS[part]:
        path = ROOT / place
        if path.is_file():
            found.append(path.read_text())
        for file in sorted(path.rglob("*.py")):
            found += _texts(file)
    return tuple(found)


def _texts(file: Path) -> list[str]:
    return [
        node.value
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


@pytest.mark.parametrize(("part", "quote"), QUOTES)
def test_a_quoted_message_is_one_that_the_part_prints(part: str, quote: str) -> None:
    assert any(quote in text for text in words(part))


def test_every_row_says_who_speaks() -> None:
    for _, said_by, _ in ROWS:
        assert said_by.codes or {*said_by.text.split(", ")} <= PARTS.keys() | OTHERS, said_by.text


def test_there_are_quotes_of_every_part() -> None:
    assert {part for part, _ in QUOTES} == PARTS.keys()
