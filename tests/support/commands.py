"""Commands as people type them; nothing of ours is imported here."""

import subprocess
from pathlib import Path

Run = subprocess.CompletedProcess[str]
PATIENCE_S = 60


def run(*command: str, text: str = "", root: Path | None = None) -> Run:
    """Run to its end in `root`, or where we are, with `text` for its input."""
    return subprocess.run(
        command, cwd=root, input=text, capture_output=True, text=True, timeout=PATIENCE_S
    )


def line(ran: Run) -> str:
    """The one line of a refusal."""
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1, ran.stderr
    return ran.stderr.strip()
