"""What an outbox knows about its captures, read while its detector may be writing."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from audit.ranges import DROPPED, QUARANTINED, WAITING, Marks
from bus.topics import CameraId, face_key
from detector import outbox as kept


class LedgerError(Exception):
    """The outbox cannot be read; the text says why and what to do."""


@dataclass(frozen=True)
class Ledger:
    """What an outbox knows: every seq up to `captured` was captured, and each is in one of three places.

    `waiting` have no receipt yet; `gaps` (first, last, reason) will never be in the bucket; the rest is stored.
    """

    edge: str
    camera: str
    captured: int
    waiting: int
    gaps: list[tuple[int, int, str]]

    @classmethod
    def read(cls, outbox: Path) -> "Ledger":
        """The ledger at this moment; raises LedgerError."""
        with closing(Reader(outbox)) as reader:
            return reader.ledger()

    def given_up(self, reason: str) -> int:
        """How many seqs are gaps for this reason."""
        return sum(last - first + 1 for first, last, why in self.gaps if why == reason)

    @property
    def stored(self) -> int:
        """How many a receipt has named as stored."""
        return self.captured - self.waiting - sum(last - first + 1 for first, last, _ in self.gaps)


@dataclass(frozen=True)
class Row:
    """What the ledger remembers of one capture: the key that it has in the bucket, and the hash of its bytes."""

    key: str
    sha256: str


class Reader:
    """An outbox, open for reading only. Everything raises LedgerError where it cannot be read."""

    def __init__(self, outbox: Path) -> None:
        if not outbox.is_file():
            raise LedgerError(
                f"there is no outbox {outbox}: run ./just demo first, or name one with --outbox"
            )
        if not os.access(outbox, os.R_OK):
            raise LedgerError(
                f"the outbox {outbox} may not be read by you: audit as the user who owns it"
            )
        self._path, self._owner = outbox, ("", "")
        with self._told():
            uri = f"{outbox.resolve().as_uri()}?mode=ro"
            self._db = sqlite3.connect(uri, uri=True, timeout=5, isolation_level=None)

    def close(self) -> None:
        """Give the file up."""
        self._db.close()

    def ledger(self, marks: Marks | None = None) -> Ledger:
        """The ledger at this moment; what it says of each seq goes into `marks`.

        The transaction is short: behind one as long as an audit, the outbox's journal would grow on the device.
        """
        waiting = 0
        with self._told():
            self._db.execute("BEGIN")
            try:
                owner = self._db.execute("SELECT edge, camera, last_seq FROM outbox").fetchone()
                for (seq,) in self._db.execute("SELECT seq FROM captures WHERE png IS NOT NULL"):
                    waiting += 1
                    if marks is not None:
                        marks[seq] = WAITING
                gaps = self._db.execute(
                    "SELECT first, last, reason FROM gaps ORDER BY first"
                ).fetchall()
            finally:
                self._db.execute("ROLLBACK")
        if not owner:
            raise LedgerError(
                f"the outbox {self._path} has no camera yet: start its detector first"
            )
        if marks is not None:
            for first, last, reason in gaps:
                marks.fill(first, last, _given_up(reason))
        edge, camera, captured = owner
        self._owner = edge, camera
        return Ledger(edge, camera, captured, waiting, gaps)

    def row(self, seq: int) -> Row | None:
        """What is remembered of a capture: it never changes, and is gone when that was dropped or settled long ago."""
        with self._told():
            row = self._db.execute(
                "SELECT facts, sha256 FROM captures WHERE seq = ?", (seq,)
            ).fetchone()
            if not row:
                return None
            at = datetime.fromisoformat(json.loads(row[0])["captured_at"])
            return Row(face_key(CameraId(*self._owner), at, seq), row[1])

    def now(self, seq: int) -> int:
        """The mark of a capture that waits, was dropped or quarantined by now; 0 of one that is settled."""
        with self._told():
            if self._db.execute(
                "SELECT 1 FROM captures WHERE seq = ? AND png IS NOT NULL", (seq,)
            ).fetchone():
                return WAITING
            query = "SELECT last, reason FROM gaps WHERE first <= ? ORDER BY first DESC LIMIT 1"
            gap = self._db.execute(query, (seq,)).fetchone()
            return _given_up(gap[1]) if gap and seq <= gap[0] else 0

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (
            sqlite3.Error,
            ValueError,
            LookupError,
        ) as error:  # also a row that the disk has spoilt
            raise LedgerError(
                f"the outbox {self._path} cannot be read ({error}): is it a detector's, and are you its owner?"
            ) from None


def _given_up(reason: str) -> int:
    return QUARANTINED if reason == kept.QUARANTINED else DROPPED
