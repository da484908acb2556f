"""The outbox: what it has committed is safe until a receipt names it. One SQLite file per detector."""

import fcntl
import hashlib
import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from bus import metrics
from bus.capture import Capture, Receipt
from bus.log import log
from bus.message import ContractError
from detector.settings import OutboxFull

Policy = OutboxFull

RESERVE = 16 * 1024 * 1024  # bytes of disk left free, so that receipts can always be written down
FULL, SPOILT, QUARANTINED = "outbox full", "spoilt on disk", "quarantined"  # reasons of gaps
LEDGER = 100_000  # settled captures whose hash is remembered for the audit

_SCHEMA = """
PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
CREATE TABLE IF NOT EXISTS outbox (edge TEXT, camera TEXT, last_seq INTEGER, life INTEGER);
CREATE TABLE IF NOT EXISTS captures (seq INTEGER PRIMARY KEY, sha256 TEXT, facts TEXT, size INTEGER, png BLOB);
CREATE INDEX IF NOT EXISTS waiting ON captures (seq, size) WHERE png IS NOT NULL;
CREATE TABLE IF NOT EXISTS gaps (first INTEGER PRIMARY KEY, last INTEGER, reason TEXT);
"""
_WAITING = "SELECT seq, size, facts, png FROM captures WHERE png IS NOT NULL AND seq"


class OutboxError(SystemExit):
    """The outbox cannot be used, which ends the process; the text says why and what to do."""


class Outbox:
    """Captures on their way, oldest first, in the file `path`; safe for several threads of one process.

    `captures` holds a row per capture, its `png` until the receipt, its hash for a while after; `gaps` the runs of seqs
    that will never be in the bucket. `budget` bounds the pictures, in bytes; `full` says what goes when they reach it.
    """

    def __init__(
        self, path: Path, edge: str, camera: str, budget: int = 10**9, full: Policy = "drop-oldest"
    ) -> None:
        self.edge, self.camera = names = edge, camera
        self._path, self._budget, self._full = path, budget, full
        self._mutex, self._taken = threading.RLock(), 0
        with ExitStack() as undo:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                fcntl.flock(
                    undo.enter_context(Path(f"{path}.lock").open("a")),
                    fcntl.LOCK_EX | fcntl.LOCK_NB,
                )
                db = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
                self._db = undo.enter_context(closing(db))
                db.executescript(_SCHEMA)
                db.execute(
                    "INSERT INTO outbox SELECT ?, ?, 0, 0 WHERE NOT EXISTS (SELECT * FROM outbox)",
                    names,
                )
                if (owner := db.execute("SELECT edge, camera FROM outbox").fetchone()) != names:
                    raise OutboxError(
                        f"OUTBOX: {path} belongs to {'/'.join(owner)}: set EDGE and CAMERA so"
                    )
                db.execute("UPDATE outbox SET life = life + 1")
                self.life, self.last_seq = db.execute(
                    "SELECT life, last_seq FROM outbox"
                ).fetchone()
                query = "SELECT count(*), ifnull(sum(size), 0) FROM captures INDEXED BY waiting WHERE png IS NOT NULL"
                self.waiting, self.waiting_bytes = db.execute(query).fetchone()
            except BlockingIOError:
                raise OutboxError(
                    f"OUTBOX: {path} is in use by another detector: set another file"
                ) from None
            except (OSError, sqlite3.Error) as error:
                raise OutboxError(
                    f"OUTBOX: {path} cannot be used ({error}): set a file on a writable disk"
                ) from None
            self._open = undo.pop_all()

    def close(self) -> None:
        """Give the file up; everything committed stays in it."""
        with self._mutex:
            self._open.close()

    @contextmanager
    def _transaction(
        self, sync: Literal["FULL", "NORMAL"] = "FULL"
    ) -> Iterator[sqlite3.Connection]:
        with self._mutex, self._db:  # which commits, or rolls back
            self._db.execute(f"PRAGMA synchronous={sync}")
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db

    def add(self, png: bytes, **facts: Any) -> Capture | None:
        """Commit a capture under the next seq: it is safe when this returns it.

        `facts` are the fields of Capture that the outbox does not know. None if it could not be taken because the
        outbox or the disk is full, or because it is no capture by the contract; that is counted and logged.
        """
        seq, sha256 = self.last_seq + 1, hashlib.sha256(png).hexdigest()
        try:
            capture = Capture(
                edge=self.edge, camera=self.camera, seq=seq, png=png, sha256=sha256, **facts
            )
            if self._room() < RESERVE + len(png):
                raise OSError("too little of the disk is free")
            with self._transaction() as db:
                row = (seq, sha256, json.dumps(capture.facts()), len(png), png)
                db.execute("INSERT INTO captures VALUES (?, ?, ?, ?, ?)", row)
                db.execute("UPDATE outbox SET last_seq = ?", (seq,))
                victims = self._victims(seq, self.waiting_bytes + len(png) - self._budget)
                for victim in victims:
                    self._gap(victim, FULL)
        except (ValidationError, OSError, sqlite3.Error) as error:
            reason = (
                str(ContractError.of(error)) if isinstance(error, ValidationError) else str(error)
            )
            self._dropped(None, "refused", reason)
            return None
        self.last_seq = seq
        self._count(1, len(png))
        metrics.captured.labels(self.edge, self.camera).inc()
        log.info(
            "captured",
            extra={"camera": self.camera, "seq": seq, "bytes": len(png), "sha256": sha256},
        )
        for victim, size in victims.items():
            self._count(-1, -size)
            self._dropped(victim, FULL)
        return None if seq in victims else capture

    def next(self) -> Capture | None:
        """The oldest waiting capture that this has not returned before, or None."""
        with self._mutex:
            while row := self._db.execute(
                f"{_WAITING} > ? ORDER BY seq LIMIT 1", (self._taken,)
            ).fetchone():
                self._taken = row[0]
                if capture := self._load(*row):
                    return capture
        return None

    def get(self, seq: int) -> Capture | None:
        """The waiting capture with this seq, or None if it waits no more."""
        with self._mutex:
            row = self._db.execute(f"{_WAITING} = ?", (seq,)).fetchone()
            return self._load(*row) if row else None

    def settle(self, receipt: Receipt) -> bool:
        """Release the capture that `receipt` names by seq and sha256; False if none waits that is both.

        Raises sqlite3.Error if that cannot be written down; then the capture still waits.
        """
        seq = receipt.seq
        with self._transaction(
            "NORMAL"
        ) as db:  # one that a power cut undoes is only sent once more
            query = "SELECT size FROM captures WHERE png IS NOT NULL AND seq = ? AND sha256 = ?"
            row = db.execute(query, (seq, receipt.sha256)).fetchone()
            if row:
                db.execute("UPDATE captures SET png = NULL WHERE seq = ?", (seq,))
            if row and receipt.status == "quarantined":
                self._gap(seq, QUARANTINED)
            if seq % 1000 == 0:
                db.execute("DELETE FROM captures WHERE png IS NULL AND seq < ?", (seq - LEDGER,))
        if row:
            self._count(-1, -row[0])
        return row is not None

    def age(self) -> float:
        """How long the oldest waiting capture has waited, in seconds; 0 if none waits."""
        with self._mutex:
            query = "SELECT facts FROM captures WHERE png IS NOT NULL ORDER BY seq LIMIT 1"
            row = self._db.execute(query).fetchone()
        return (
            time.time() - datetime.fromisoformat(json.loads(row[0])["captured_at"]).timestamp()
            if row
            else 0
        )

    def _room(self) -> int:
        """Bytes that are free on the disk, or in the file, which never shrinks."""
        with self._mutex:
            (pages,), (size,) = (
                self._db.execute(f"PRAGMA {n}").fetchone() for n in ("freelist_count", "page_size")
            )
        return shutil.disk_usage(self._path.parent).free + int(pages * size)

    def _victims(self, seq: int, over: int) -> dict[int, int]:
        """Seq and size of what goes to free `over` bytes: the oldest that are not on their way, or `seq` itself."""
        query = "SELECT seq, size FROM captures WHERE png IS NOT NULL AND seq > ? AND seq <= ? ORDER BY seq"
        victims: dict[int, int] = {}
        for victim, size in self._db.execute(
            query, (self._taken if self._full == "drop-oldest" else seq - 1, seq)
        ):
            if over <= 0:
                break
            victims[victim], over = size, over - size
        return {seq: victims[seq]} if seq in victims else victims

    def _gap(self, seq: int, reason: str) -> None:
        """Write down, in the transaction under way, that `seq` will not be in the bucket, and why."""
        self._db.execute("DELETE FROM captures WHERE png IS NOT NULL AND seq = ?", (seq,))
        longer = self._db.execute(
            "UPDATE gaps SET last = ? WHERE last = ? AND reason = ?", (seq, seq - 1, reason)
        )
        if not longer.rowcount:
            self._db.execute("INSERT INTO gaps VALUES (?, ?, ?)", (seq, seq, reason))

    def _load(self, seq: int, size: int, facts: str, png: bytes) -> Capture | None:
        """The capture of a row; a row that the disk has spoilt is given up, counted and logged."""
        try:
            return Capture.of(self.edge, self.camera, json.loads(facts), png)
        except ValueError:
            with self._transaction():
                self._gap(seq, SPOILT)
            self._count(-1, -size)
            self._dropped(seq, SPOILT)
            return None

    def _dropped(self, seq: int | None, reason: str, detail: str = "") -> None:
        metrics.dropped.labels(self.edge, self.camera, reason).inc()
        log.error("dropped", extra={"camera": self.camera, "seq": seq, "reason": detail or reason})

    def _count(self, captures: int, size: int) -> None:
        with self._mutex:
            self.waiting, self.waiting_bytes = self.waiting + captures, self.waiting_bytes + size
