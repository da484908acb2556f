"""The commands on the pages.

What can run here is run; of the rest recipe, options and files are checked.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.docs.page import ROOT, Page, pages

# What is run here, but for recipes, words and options that need what is not here.
PROGRAMS = {"./just", "openssl"}
RECIPES = {
    **dict.fromkeys(("up", "down", "logs", "ps", "watch", "images", "bundle"), "an engine"),
    **dict.fromkeys(("deploy", "undeploy", "diff", "k8s-logs"), "a cluster"),
    **dict.fromkeys(("fmt", "clean", "lock"), "a checkout that may be changed"),
    **dict.fromkeys(("test", "test-opencv5", "check", "chaos", "bench"), "time: the gate runs it"),
    "ship": "a device",
    "ec2": "an account",
}
WORDS = {"--bucket": "an account", "--keep": "somebody who ends it", "containers": "an engine"}
HARMLESS = {"--list", "--help"}  # with these any recipe ends at once
SHELL = {"sh", "bash", "shell", "console"}
PLACEHOLDER = re.compile(r"^[A-Z][A-Z_@]+$|\.\.\.|^<.*>$")
# Whose options are not those that its recipe's --help tells.
HELP = {"lock": ["uv", "pip", "compile", "--help"]}
DEMO = "./just demo"
# What lies in a checkout and is not the repository's.
OWN = (".git", ".env", ".run", ".tools", ".venv", ".*_cache", "__pycache__", "pki")
OUTPUT_OF = "output of "
ENDS = {"|", "||", "&", "&&", ";", "(", ")"}


@dataclass(frozen=True, slots=True)
class Command:
    """One line of a block, or what is called in the middle of a sentence.

    `output` is what the page shows of it.
    """

    page: str
    line: int
    text: str
    output: str = ""

    def parts(self) -> list[list[str]]:
        """The words of each simple command in it.

        Without settings in front of it, and where its output goes.
        """
        lexer = shlex.shlex(self.text, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        parts: list[list[str]] = [[]]
        for word in lexer:
            if word in ENDS:
                parts.append([])
            elif parts[-1] or not re.match(r"^\w+=", word):
                parts[-1].append(word)
        return [part for part in parts if part]

    def need(self) -> str:
        """What it needs that is not here, or nothing."""
        if any(PLACEHOLDER.search(word) for part in self.parts() for word in part):
            return "names of your own"
        for part in self.parts():
            words = {word.split("=")[0] for word in part}
            if part[0] not in PROGRAMS:
                return "another program"
            for word in sorted(words & WORDS.keys()):
                return WORDS[word]
            if not words & HARMLESS and part[0] == "./just" and part[1:2]:
                return RECIPES.get(part[1], "")
        return ""


def commands(file: Path) -> list[Command]:
    """The commands in a page's blocks, each with the blocks that a comment calls its output."""
    name = file.relative_to(ROOT).as_posix()
    fences = Page(file).fences()
    outputs: dict[str, str] = {}
    for fence in fences:
        if fence.note.startswith(OUTPUT_OF):
            outputs[fence.note.removeprefix(OUTPUT_OF)] = fence.text
    found = []
    for fence in fences:
        if fence.language in SHELL:
            lines = fence.text.replace("\\\n", " ").splitlines()
            for text in filter(None, map(_bare, lines)):
                found.append(Command(name, fence.line, text, outputs.pop(text, "")))
    assert not outputs, f"{name} shows the output of what it does not call: {', '.join(outputs)}"
    return found


def _bare(line: str) -> str:
    """A line without the remark at its end."""
    return re.sub(r"(^|\s+)#.*", "", line).strip()


def mentioned(file: Path) -> list[Command]:
    """What is called within the text of a page."""
    name = file.relative_to(ROOT).as_posix()
    return [Command(name, 0, span) for span in Page(file).spans() if "./just " in span]


def _just(words: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["just", *words], cwd=ROOT, text=True, capture_output=True, check=False)


@cache
def recipes() -> frozenset[str]:
    return frozenset(_just(["--summary"]).stdout.split())


@cache
def told(recipe: str, *words: str) -> str:
    """What a recipe says of itself."""
    if recipe in HELP:
        return subprocess.run(HELP[recipe], text=True, capture_output=True, check=True).stdout
    helped = _just([recipe, *words, "--help"])
    assert helped.returncode == 0, f"./just {recipe} --help: {helped.stderr}"
    return helped.stdout


def wrong(words: list[str]) -> str:
    """What is wrong with a call of `./just`, or nothing."""
    if len(words) < 2 or words[1] == "RECIPE":
        return ""
    recipe = words[1]
    if recipe not in recipes():
        return f"there is no recipe {recipe}"
    options = [word.split("=")[0] for word in words[2:] if word.startswith("--")]
    if not options or recipe == "test":
        return ""
    first = [word for word in words[2:3] if re.match(r"^[a-z0-9]+$", word)]
    strange = [option for option in options if not re.search(rf"{option}\b", told(recipe, *first))]
    return f"{recipe} has no {', '.join(strange)}" if strange else ""


ALL = [command for file in pages() for command in [*commands(file), *mentioned(file)]]


@pytest.mark.parametrize(
    "command", ALL, ids=[f"{command.page}:{command.line} {command.text[:50]}" for command in ALL]
)
def test_a_command_names_what_there_is(command: Command) -> None:
    for part in command.parts():
        if part[0] == "./just":
            assert not wrong(part)
        for word in part[1:]:
            if re.match(r"^(compose|k8s|deploy|mosquitto)/[\w./-]+\w$", word):
                there = (ROOT / word).exists() or word == "compose/.env"
                assert there, f"there is no {word}"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of this checkout in which a command may leave what it likes.

    Its `./just` has nothing left to install.
    """
    copy = tmp_path_factory.mktemp("docs") / "checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*OWN))
    launcher = copy / "just"
    launcher.write_text('#!/bin/sh\ncd "$(dirname "$0")" && exec just "$@"\n')
    launcher.chmod(0o755)
    yield copy
    shutil.rmtree(copy, ignore_errors=True)


def _run(text: str, folder: Path) -> str:
    """What a command prints."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    ran = subprocess.run(
        ["sh", "-euc", text],
        cwd=folder,
        env={**env, "COLUMNS": "120"},
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, f"{text}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.fixture(scope="module")
def demonstration(checkout: Path) -> str:
    """What the demo prints: it runs once, and leaves what `./just audit` looks at."""
    return _run(DEMO, checkout)


RUN = {
    file.relative_to(ROOT).as_posix(): runnable
    for file in pages()
    if (runnable := [command for command in commands(file) if not command.need()])
}


@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_a_page_run_and_print_what_it_shows(
    page: str, checkout: Path, request: pytest.FixtureRequest
) -> None:
    shutil.rmtree(checkout / "pki", ignore_errors=True)  # another page's
    for command in RUN[page]:
        printed = ""
        if command.text == DEMO or " audit" in command.text:
            printed = request.getfixturevalue("demonstration")
        if command.text != DEMO:
            printed = _run(command.text, checkout)
        at = 0
        for line in filter(None, command.output.splitlines()):
            pattern = re.escape(line.strip()).replace(re.escape("..."), ".*")
            found = re.compile(pattern).search(printed, at)
            assert found, f"{command.text} does not print {line!r} there:\n{printed}"
            at = found.end()


def test_a_command_that_is_wrong_is_noticed() -> None:
    assert wrong(["./just", "no-such-recipe"])
    assert wrong(["./just", "demo", "--no-such-option"])
    assert not wrong(["./just", "demo", "--keep"])
