"""The drain's benchmark runs, here and for another revision, and leaves nothing behind."""

import shutil
import subprocess
from pathlib import Path

import pytest

from demo.stack import ROOT
from tests.bench.drain import main
from tests.bench.revision import checkout

LITTLE = ["--rounds", "1", "--captures", "8", "--seconds", "0.2"]
RUN = ("bus", "processor", "identity", "mosquitto")


def test_it_measures_two_revisions_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in RUN:
        shutil.copytree(ROOT / part, tmp_path / "then" / part)
    assert main([*LITTLE, "--against", str(tmp_path / "then")]) == 0
    said = capsys.readouterr().out
    assert "round 1 of 1: this one" in said
    for row in ("drain, captures a second", "CPU of processor", "at 50/s by the bridge, p99 in ms"):
        assert row in said


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    command = ["git", "-C", str(folder), *who, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_revision_is_checked_out_for_a_while(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "file").write_text("then")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "then")
    (tmp_path / "file").write_text("now")
    with checkout("HEAD", tmp_path) as root:
        assert (root / "file").read_text() == "then"
    assert not root.exists()
    assert len(git(tmp_path, "worktree", "list").splitlines()) == 1


def test_a_revision_that_is_none_is_said() -> None:
    with pytest.raises(SystemExit, match="--against nothing: no such revision"):
        main([*LITTLE, "--against", "nothing"])
