"""The system as another revision has it, with its own code, configuration and certificates."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from demo.stack import ROOT, Stack

SERVICES = ("cloud-broker", "processor")
DEVICE = "edge-1"  # whose edge broker there is
EDGES = ("edge-2", "edge-3", "edge-4", "edge-5")


class RevisionError(Exception):
    """There is no such revision; the text says what to do."""


class Revision(Stack):
    """The parts of the checkout in `root`, and edges that may speak to them."""

    def __init__(self, folder: Path, root: Path) -> None:
        super().__init__(folder)
        self.root = root
        client = (root / "bus" / "client.py").read_text()
        self.sends_at_once = "TCP_NODELAY" in client  # so does an edge of it, then
        enrol = "identity" if (root / "identity").is_dir() else "local.enroll"
        subprocess.run(
            [sys.executable, "-m", enrol, "--pki", str(self.pki), *SERVICES, DEVICE, *EDGES],
            cwd=root,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def bundle(self, name: str) -> Path:
        """The certificate of `name`, which its own code has made."""
        return self.pki / name


@contextmanager
def checkout(revision: str, repository: Path = ROOT) -> Iterator[Path]:
    """A folder with the files of a revision, for a while; a folder is taken as it is.

    Raises RevisionError.
    """
    if (Path(revision) / "bus").is_dir():
        yield Path(revision).resolve()
        return
    with TemporaryDirectory() as folder:
        root = Path(folder) / "checkout"
        try:
            _git(repository, "add", "--detach", str(root), revision)
        except (OSError, subprocess.CalledProcessError):
            raise RevisionError(
                f"--against {revision}: no such revision here (git log shows them), and no folder"
            ) from None
        try:
            yield root
        finally:
            _git(repository, "remove", "--force", str(root))


def _git(repository: Path, *words: str) -> None:
    command = ["git", "-C", str(repository), "worktree", *words]
    subprocess.run(command, capture_output=True, check=True)
