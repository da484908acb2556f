"""What an outbox knows about its captures, read while its detector may be writing."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from bus.topics import CameraId, face_key
from detector.outbox_schema import QUARANTINED

BUSY_S = 5  # how long a writer may keep us waiting

_ENTRY = "SELECT seq, sha256, facts, size, png IS NOT NULL FROM captures"


class LedgerError(Exception):
    """The outbox cannot be read; the text says why and what to do."""


class Gap(NamedTuple):
    """Seqs from `first` to `last` that will never be in the bucket, and why."""

    first: int
    last: int
    reason: str

    @property
    def length(self) -> int:
        """How many seqs they are."""
        return self.last - self.first + 1

    @property
    def quarantined(self) -> bool:
        """Whether they were refused; any other reason dropped them on the device."""
        return self.reason == QUARANTINED


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What an outbox knows: every seq up to `captured` was captured, and each is in one place.

    `waiting_seqs` have no receipt yet; `gaps` will never be in the bucket; the rest is stored.
    """

    camera_id: CameraId
    captured: int
    waiting_seqs: tuple[int, ...]
    gaps: tuple[Gap, ...]

    @classmethod
    def read(cls, outbox: Path) -> "Ledger":
        """The ledger at this moment; raises LedgerError."""
        with OutboxReader(outbox) as reader:
            return reader.ledger()

    @property
    def waiting(self) -> int:
        """How many have no receipt yet."""
        return len(self.waiting_seqs)

    @property
    def stored(self) -> int:
        """How many a receipt has named as stored."""
        return self.captured - self.waiting - sum(gap.length for gap in self.gaps)

    def given_up(self, reason: str) -> int:
        """How many seqs are gaps for this reason."""
        return sum(gap.length for gap in self.gaps if gap.reason == reason)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the ledger remembers of one capture.

    `key` is the one that it has in the bucket; `sha256` and `size`, in bytes, are those of its PNG;
    `facts` are as they travel; `waiting` says that it has no receipt yet.
    """

    seq: int
    key: str
    sha256: str
    size: int
    facts: dict[str, str]
    waiting: bool


class OutboxReader:
    """The outbox in the file `path`, open for reading only; a context manager.

    Everything raises LedgerError where the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise LedgerError(
                f"there is no outbox {path}: "
                "run ./just demo first, or name one: ./just audit outbox FILE"
            )
        if not os.access(path, os.R_OK):
            raise LedgerError(
                f"the outbox {path} may not be read by you: audit as the user who owns it"
            )
        self._path = path
        with self._errors():
            uri = f"{path.resolve().as_uri()}?mode=ro"
            self._db = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()

    def ledger(self) -> Ledger:
        """The ledger at this moment.

        The transaction is short: behind one as long as an audit, the outbox's journal would grow
        on the device.
        """
        with self._errors():
            self._db.execute("BEGIN")
            try:
                camera_id = self._camera_id
                (captured,) = self._db.execute("SELECT last_seq FROM outbox").fetchone()
                waiting = self._db.execute("SELECT seq FROM captures WHERE png IS NOT NULL")
                waiting_seqs = tuple(seq for (seq,) in waiting)
                gaps = self._db.execute("SELECT first, last, reason FROM gaps ORDER BY first")
                return Ledger(
                    camera_id=camera_id,
                    captured=captured,
                    waiting_seqs=waiting_seqs,
                    gaps=tuple(Gap(*gap) for gap in gaps),
                )
            finally:
                self._db.execute("ROLLBACK")

    def entry(self, seq: int) -> Entry | None:
        """What is remembered of a capture; None when it was dropped, or settled long ago."""
        with self._errors():
            row = self._db.execute(f"{_ENTRY} WHERE seq = ?", (seq,)).fetchone()
            return self._entry(row) if row else None

    def entries(self) -> list[Entry]:
        """All that is remembered, oldest first: what waits, and the newest of what is settled."""
        with self._errors():
            rows = self._db.execute(f"{_ENTRY} ORDER BY seq").fetchall()
            return [self._entry(row) for row in rows]

    @cached_property
    def _camera_id(self) -> CameraId:
        """Whose outbox it is, which never changes."""
        owner = self._db.execute("SELECT edge, camera FROM outbox").fetchone()
        if not owner:
            raise LedgerError(
                f"the outbox {self._path} has no camera yet: start its detector first"
            )
        return CameraId(*owner)

    def _entry(self, row: tuple[int, str, str, int, int]) -> Entry:
        seq, sha256, text, size, waiting = row
        facts = json.loads(text)
        captured_at = datetime.fromisoformat(facts["captured_at"])
        return Entry(
            seq=seq,
            key=face_key(self._camera_id, captured_at, seq),
            sha256=sha256,
            size=size,
            facts=facts,
            waiting=bool(waiting),
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Whatever the file may do to its reader, as one error; also a row that the disk spoilt."""
        try:
            yield
        except (sqlite3.Error, ValueError, LookupError, TypeError) as error:
            raise LedgerError(
                f"the outbox {self._path} cannot be read ({error}): "
                "is it a detector's, and are you its owner?"
            ) from None
