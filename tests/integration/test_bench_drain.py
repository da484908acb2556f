"""The drain's benchmark runs, here and for another revision, and leaves nothing behind."""

import subprocess

import pytest

from demo.stack import ROOT
from tests.bench.drain import main

LITTLE = ["--rounds", "1", "--captures", "8", "--seconds", "0.2"]


def worktrees() -> list[str]:
    command = ["git", "-C", str(ROOT), "worktree", "list"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_it_measures_two_revisions_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    before = worktrees()
    assert main([*LITTLE, "--against", "HEAD"]) == 0
    said = capsys.readouterr().out
    assert "round 1 of 1: HEAD" in said
    for row in ("drain, captures a second", "CPU of processor", "at 50/s by the bridge, p99 in ms"):
        assert row in said
    assert worktrees() == before


def test_a_revision_that_is_none_is_said() -> None:
    with pytest.raises(SystemExit, match="--against nothing: no such revision"):
        main([*LITTLE, "--against", "nothing"])
