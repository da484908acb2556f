"""The outbox: what it has committed is safe until a receipt names it."""

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from pydantic import ValidationError

from bus import metrics
from bus.capture import Capture
from bus.log import log
from bus.message import ContractError
from bus.receipt import Receipt
from bus.topics import CameraId, face_key
from detector.outbox_file import OutboxFile
from detector.outbox_schema import FULL, LEDGER, QUARANTINED, SPOILT, is_broken
from detector.settings import OutboxFull
from detector.shot import Shot

RESERVE = 16 * 1024 * 1024  # bytes of disk left free, so that receipts can always be written down
P = ParamSpec("P")
T = TypeVar("T")

_FORGET_EVERY = 1000  # seqs

_WAITING = "SELECT seq, sha256, facts, size, png FROM captures WHERE png IS NOT NULL AND seq"
_TOTALS = """
SELECT count(*), ifnull(sum(size), 0) FROM captures INDEXED BY waiting WHERE png IS NOT NULL
"""
_NAMED = "SELECT size, facts FROM captures WHERE png IS NOT NULL AND seq = ? AND sha256 = ?"
_OLDEST = "SELECT facts FROM captures WHERE png IS NOT NULL ORDER BY seq LIMIT 1"
_REFUSALS = "SELECT count FROM refusals WHERE seq = ?"
_REFUSE = """
INSERT INTO refusals VALUES (?, 1) ON CONFLICT (seq) DO UPDATE SET count = count + 1
RETURNING count
"""
_FORGET_REFUSALS = "DELETE FROM refusals WHERE seq = ?"
_SIZES = (
    "SELECT seq, size FROM captures WHERE png IS NOT NULL AND seq > ? AND seq <= ? ORDER BY seq"
)


def _healing(
    method: Callable[Concatenate["Outbox", P], T],
) -> Callable[Concatenate["Outbox", P], T]:
    """A method that is called once more when it has found the file broken, and it was salvaged."""

    @wraps(method)
    def healing(self: "Outbox", /, *args: P.args, **more: P.kwargs) -> T:
        try:
            return method(self, *args, **more)
        except sqlite3.Error as error:
            if not is_broken(error):
                raise
            self._heal(error)
            return method(self, *args, **more)

    return healing


class Outbox:
    """Captures of one camera on their way, oldest first; safe for several threads of one process.

    `budget` bounds the pictures, in bytes; `full` says what goes when they reach it. `waiting` and
    `waiting_bytes` tell of those without a receipt. Raises OutboxError.
    """

    def __init__(
        self,
        path: Path,
        camera_id: CameraId,
        *,
        budget: int = 10**9,
        full: OutboxFull = "drop-oldest",
    ) -> None:
        self.camera_id = camera_id
        self._budget = budget
        self._full = full
        self._is_scrubbed = False
        self._taken = 0  # the newest seq that `next` has returned
        self._file = OutboxFile(path, camera_id)
        self.life = self._file.life
        self.waiting = 0
        self.waiting_bytes = 0
        self._begin()

    @property
    def last_seq(self) -> int:
        """The newest capture's."""
        return self._file.last_seq

    def close(self) -> None:
        """Give the file up; everything committed stays in it."""
        self._file.close()

    def add(self, shot: Shot) -> Capture | None:
        """Commit a shot as the capture of the next seq: it is safe when this returns it.

        None if it could not be taken because the outbox or the disk is full, or because it is no
        capture by the contract; that is counted and logged.
        """
        try:
            capture, victims = self._take(shot)
        except ValidationError as error:
            self._refused(str(ContractError.of(error)))
            return None
        except (OSError, sqlite3.Error) as error:
            self._refused(str(error))
            return None
        self._count(1, size=len(capture.png))
        metrics.captured.labels(*self.camera_id).inc()
        log.info(
            "captured",
            extra={
                "camera": capture.camera,
                "seq": capture.seq,
                "bytes": len(capture.png),
                "sha256": capture.sha256,
            },
        )
        for seq, size in victims.items():
            self._count(-1, size=-size)
            self._dropped(seq, FULL)
        return None if capture.seq in victims else capture

    @_healing
    def next(self) -> Capture | None:
        """The oldest waiting capture that this has not returned before, or None."""
        query = f"{_WAITING} > ? ORDER BY seq LIMIT 1"
        with self._file.mutex:
            while row := self._file.db.execute(query, (self._taken,)).fetchone():
                capture = self._load(*row)
                self._taken = row[0]
                if capture:
                    return capture
        return None

    @_healing
    def get(self, seq: int) -> Capture | None:
        """The waiting capture with this seq, or None if it waits no more."""
        with self._file.mutex:
            row = self._file.db.execute(f"{_WAITING} = ?", (seq,)).fetchone()
            return self._load(*row) if row else None

    @_healing
    def settle(self, receipt: Receipt) -> bool:
        """Release the capture that `receipt` names by seq, sha256 and key; False if none is so.

        Raises sqlite3.Error if that cannot be written down; then the capture still waits.
        """
        seq = receipt.seq
        # A power cut may undo this: then the capture is only sent once more.
        with self._file.transaction(synchronous="NORMAL") as db:
            row = db.execute(_NAMED, (seq, receipt.sha256)).fetchone()
            if not row or not self._is_of(receipt, facts=row[1]):
                return False
            db.execute("UPDATE captures SET png = NULL WHERE seq = ?", (seq,))
            db.execute(_FORGET_REFUSALS, (seq,))
            if receipt.status == "quarantined":
                self._write_gap(seq, QUARANTINED)
            if seq % _FORGET_EVERY == 0:
                db.execute("DELETE FROM captures WHERE png IS NULL AND seq < ?", (seq - LEDGER,))
        self._count(-1, size=-row[0])
        self._is_scrubbed = False
        return True

    @_healing
    def scrub(self) -> None:
        """Once nothing waits, leave nothing of a delivered face in the journal either."""
        if not self.waiting and not self._is_scrubbed:
            self._is_scrubbed = self._file.empty_journal()

    @_healing
    def refusals(self, seq: int) -> int:
        """How often the waiting capture with this seq was refused."""
        with self._file.mutex:
            row = self._file.db.execute(_REFUSALS, (seq,)).fetchone()
        return int(row[0]) if row else 0

    @_healing
    def refuse(self, seq: int) -> int:
        """Note that a waiting capture was refused once more; how often by now.

        Raises sqlite3.Error if that cannot be written down.
        """
        with self._file.transaction(synchronous="NORMAL") as db:
            ((count,),) = db.execute(_REFUSE, (seq,))
        return int(count)

    @_healing
    def age(self) -> float:
        """How long the oldest waiting capture has waited, in seconds; 0 if none waits."""
        with self._file.mutex:
            row = self._file.db.execute(_OLDEST).fetchone()
        if not row:
            return 0.0
        try:
            captured_at = datetime.fromisoformat(json.loads(row[0])["captured_at"])
        except (ValueError, LookupError, TypeError):  # it is given up when its turn comes
            return 0.0
        return time.time() - captured_at.timestamp()

    @_healing
    def _begin(self) -> None:
        self._count_all()

    def _heal(self, why: sqlite3.Error) -> None:
        with self._file.mutex:
            self._file.heal(why)
            self._count_all()

    def _count_all(self) -> None:
        """Read anew what waits; a broken index shows here."""
        self.waiting, self.waiting_bytes = self._file.db.execute(_TOTALS).fetchone()

    @_healing
    def _take(self, shot: Shot) -> tuple[Capture, dict[int, int]]:
        """The shot as the next capture, committed, and what had to go for it."""
        capture = self._capture(shot)
        return capture, self._commit(capture)

    def _capture(self, shot: Shot) -> Capture:
        return Capture(
            edge=self.camera_id.edge,
            camera=self.camera_id.camera,
            seq=self.last_seq + 1,
            captured_at=shot.captured_at,
            box=shot.box,
            frame=shot.frame,
            score=shot.score,
            quality=shot.quality,
            visit=shot.visit,
            shot=shot.number,
            png=shot.png,
            sha256=hashlib.sha256(shot.png).hexdigest(),
            final=shot.final,
        )

    def _commit(self, capture: Capture) -> dict[int, int]:
        """Write a capture down, and say what had to go for it: seq and size in bytes."""
        size = len(capture.png)
        if self._file.room() < RESERVE + size:
            raise OSError("too little of the disk is free")
        facts = json.dumps(capture.facts())
        self._file.reserve(capture.seq)
        with self._file.transaction() as db:
            db.execute(
                "INSERT INTO captures VALUES (?, ?, ?, ?, ?)",
                (capture.seq, capture.sha256, facts, size, capture.png),
            )
            db.execute("UPDATE outbox SET last_seq = ?", (capture.seq,))
            victims = self._victims(capture.seq, over=self.waiting_bytes + size - self._budget)
            for victim in victims:
                self._write_gap(victim, FULL)
        self._file.given(capture.seq)
        return victims

    def _victims(self, seq: int, over: int) -> dict[int, int]:
        """Seq and size of what goes to free `over` bytes.

        The oldest that are not on their way, or `seq` itself.
        """
        after = self._taken if self._full == "drop-oldest" else seq - 1
        victims: dict[int, int] = {}
        for victim, size in self._file.db.execute(_SIZES, (after, seq)):
            if over <= 0:
                break
            victims[victim] = size
            over -= size
        if seq in victims:  # to drop others would not help
            return {seq: victims[seq]}
        return victims

    def _write_gap(self, seq: int, reason: str) -> None:
        """Note, in the transaction under way, that `seq` will not be in the bucket, and why."""
        db = self._file.db
        db.execute("DELETE FROM captures WHERE png IS NOT NULL AND seq = ?", (seq,))
        db.execute(_FORGET_REFUSALS, (seq,))
        longer = db.execute(
            "UPDATE gaps SET last = ? WHERE last = ? AND reason = ?", (seq, seq - 1, reason)
        )
        if not longer.rowcount:
            db.execute("INSERT INTO gaps VALUES (?, ?, ?)", (seq, seq, reason))

    def _load(self, seq: int, sha256: str, facts: str, size: int, png: bytes) -> Capture | None:
        """The capture of a row, if it is one.

        What the disk has spoilt is given up. What is as it was written, and is no capture by this
        version's contract, is kept for another version. Both are logged.
        """
        if not _is_intact(seq, sha256=sha256, facts=facts, png=png):
            with self._file.transaction():
                self._write_gap(seq, SPOILT)
            self._count(-1, size=-size)
            self._dropped(seq, SPOILT)
            return None
        try:
            return Capture.of(self.camera_id, json.loads(facts), png)
        except ContractError as error:
            log.error(
                "kept", extra={"camera": self.camera_id.camera, "seq": seq, "reason": str(error)}
            )
            return None

    def _is_of(self, receipt: Receipt, facts: str) -> bool:
        """Whether a receipt names the key under which the capture of these facts is stored."""
        if receipt.status == "quarantined":
            return receipt.key.startswith("quarantine/")
        try:
            captured_at = datetime.fromisoformat(json.loads(facts)["captured_at"])
        except (ValueError, LookupError, TypeError):  # the disk has spoilt it
            return False
        return receipt.key == face_key(self.camera_id, captured_at, receipt.seq)

    def _refused(self, detail: str) -> None:
        metrics.dropped.labels(*self.camera_id, "refused").inc()
        facts = {"camera": self.camera_id.camera, "seq": None, "reason": detail}
        log.error("dropped", extra=facts)

    def _dropped(self, seq: int, reason: str) -> None:
        metrics.dropped.labels(*self.camera_id, reason).inc()
        facts = {"camera": self.camera_id.camera, "seq": seq, "reason": reason}
        log.error("dropped", extra=facts)

    def _count(self, captures: int, size: int) -> None:
        with self._file.mutex:
            self.waiting += captures
            self.waiting_bytes += size


def _is_intact(seq: int, *, sha256: str, facts: str, png: bytes) -> bool:
    """Whether picture, hash and facts of a row agree."""
    try:
        said = json.loads(facts)
        hashes = {hashlib.sha256(png).hexdigest(), sha256, said["sha256"]}
        return len(hashes) == 1 and bool(said["seq"] == str(seq))
    except (ValueError, LookupError, TypeError):
        return False
