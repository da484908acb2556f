"""The checks of the pages notice what is wrong, and find nothing wrong now."""

from pathlib import Path

import pytest

from tests.docs import links, settings_table
from tests.docs.page import Page, filled, pages

WIDTH = 120  # columns; a row of a table and a block of code cannot be folded


@pytest.mark.parametrize("file", pages(), ids=lambda file: file.name)
def test_no_line_is_too_long(file: Path) -> None:
    coded = False
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        if line.lstrip().startswith("```"):
            coded = not coded
        if not coded and not line.lstrip().startswith("|"):
            assert len(line) <= WIDTH, f"{file.name}:{number}"


def test_no_link_leads_nowhere() -> None:
    assert not links.broken(pages())


@pytest.mark.parametrize(
    ("target", "trouble"),
    [
        ("other.md", ""),
        ("other.md#a-heading-its-own", ""),
        ("other.md#a-heading-its-own-1", ""),
        ("#here", ""),
        ("https://example.com/none", ""),
        ("none.md", "there is no such file"),
        ("other.md#none", "there is no such heading"),
        ("#none", "there is no such heading"),
        ("picture.png#x", "only a page has headings"),
    ],
)
def test_a_link_is_followed(target: str, trouble: str, tmp_path: Path) -> None:
    (tmp_path / "picture.png").touch()
    (tmp_path / "other.md").write_text("# A heading, `its` own\n\n## A heading: its own\n")
    page = tmp_path / "page.md"
    page.write_text(f"# Here\n\nSee\n[this]({target}).\n")
    assert links.broken([page]) == ([f"{page}:3: {target}: {trouble}"] if trouble else [])


def test_a_picture_is_a_link_too(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("![a picture](none.png)\n")
    assert links.broken([page]) == [f"{page}:1: none.png: there is no such file"]


def test_the_settings_on_the_page_are_those_of_the_code() -> None:
    assert settings_table.PAGE.read_text() == settings_table.page()


@pytest.mark.parametrize("client", settings_table.CLIENTS)
def test_every_setting_is_described(client: str) -> None:
    for setting in settings_table.settings(client):
        assert setting.description.endswith((".", "`.")), setting.variable


def test_a_setting_shows_its_default_and_its_range() -> None:
    rows = {
        setting.variable: (setting.default, setting.allowed)
        for client in settings_table.CLIENTS
        for setting in settings_table.settings(client)
    }
    assert rows["WINDOW"] == ("`64`", "1 to 128")
    assert rows["FPS"] == ("`15`", "above 0, at most 240")
    assert rows["SCORE"] == ("`0.7`", "above 0, below 1")
    assert rows["MIN_FACE"] == ("`40`", "at least 8")
    assert rows["LOOP"] == ("`0`", "`0`, `1`")
    assert rows["CERTS"] == ("none", "a folder")
    assert rows["EDGE"] == ("must be set", "[a name](contract.md#names)")
    assert rows["OUTBOX_FULL"] == ("`drop-oldest`", "`drop-oldest`, `drop-newest`")


def test_a_part_of_a_page_is_filled_and_the_rest_left() -> None:
    text = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n"
    assert filled(text, part="x", content="new\n") == "a\n<!-- x -->\nnew\n<!-- /x -->\nb\n"
    with pytest.raises(ValueError, match="no part y"):
        filled(text, part="y", content="new\n")


def test_a_page_tells_its_code(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`one`\n\n<!-- why -->\n```sh\ntwo\n```\n\n| `a \\| b` |\n|---|\n")
    read = Page(page)
    fences = [(fence.language, fence.text, fence.line, fence.note) for fence in read.fences()]
    assert fences == [("sh", "two\n", 4, "why")]
    assert read.spans() == ["one", "a | b"]
    assert [cell.codes for cell in read.rows()[0]] == [["a | b"]]
