"""What an outbox has committed, told to the world outside as it happens."""

from pathlib import Path

from bus.capture import Capture


class Commits:
    """A file with a line `seq sha256` for each commit."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, capture: Capture) -> None:
        """Tell of a capture that was just committed."""
        with self.path.open("a") as out:
            out.write(f"{capture.seq} {capture.sha256}\n")

    def read(self) -> list[tuple[int, str]]:
        """Seq and hash of every commit that was told of."""
        lines = [line.split() for line in self.path.read_text().splitlines()]
        return [(int(seq), sha256) for seq, sha256 in lines]
