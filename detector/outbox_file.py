"""The file of an outbox: SQLite, opened by one detector at a time."""

import fcntl
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Literal

from bus.topics import CameraId

# `captures` holds a row per capture: its `png` until the receipt, its hash for a while after.
# `refusals` says how often a waiting one was refused.
# `gaps` holds the runs of seqs that will never be in the bucket.
_SCHEMA = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
CREATE TABLE IF NOT EXISTS outbox (
    edge TEXT, camera TEXT, last_seq INTEGER, life INTEGER
);
CREATE TABLE IF NOT EXISTS captures (
    seq INTEGER PRIMARY KEY, sha256 TEXT, facts TEXT, size INTEGER, png BLOB
);
CREATE INDEX IF NOT EXISTS waiting ON captures (seq, size) WHERE png IS NOT NULL;
CREATE TABLE IF NOT EXISTS gaps (
    first INTEGER PRIMARY KEY, last INTEGER, reason TEXT
);
CREATE TABLE IF NOT EXISTS refusals (
    seq INTEGER PRIMARY KEY, count INTEGER
);
"""
_BUSY_TIMEOUT_S = 5


class OutboxError(SystemExit):
    """The outbox cannot be used; the text says why and what to do. It ends the process."""


class OutboxFile:
    """The database, its lock, its transactions; for several threads of one process.

    `life` says how often the file was opened, this time included. Raises OutboxError if it is in
    use, another camera's, or no outbox.
    """

    def __init__(self, path: Path, camera_id: CameraId) -> None:
        self.mutex = threading.RLock()
        self._path = path
        with ExitStack() as undo:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                lock = undo.enter_context(Path(f"{path}.lock").open("a"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.db = undo.enter_context(closing(_connect(path)))
                self._claim(camera_id)
            except BlockingIOError:
                raise OutboxError(
                    f"OUTBOX: {path} is in use by another detector: set another file"
                ) from None
            except (OSError, sqlite3.Error) as error:
                raise OutboxError(
                    f"OUTBOX: {path} cannot be used ({error}): set a file on a writable disk"
                ) from None
            self._open = undo.pop_all()

    def _claim(self, camera_id: CameraId) -> None:
        self.db.execute(
            "INSERT INTO outbox SELECT ?, ?, 0, 0 WHERE NOT EXISTS (SELECT * FROM outbox)",
            camera_id,
        )
        owner = self.db.execute("SELECT edge, camera FROM outbox").fetchone()
        if owner != camera_id:
            raise OutboxError(
                f"OUTBOX: {self._path} belongs to {'/'.join(owner)}: set EDGE and CAMERA so"
            )
        self.db.execute("UPDATE outbox SET life = life + 1")
        (self.life,) = self.db.execute("SELECT life FROM outbox").fetchone()

    def close(self) -> None:
        """Give the file up; everything committed stays in it."""
        with self.mutex:
            self._open.close()

    @contextmanager
    def transaction(
        self, synchronous: Literal["FULL", "NORMAL"] = "FULL"
    ) -> Iterator[sqlite3.Connection]:
        """What is done in it is committed at its end, or undone by an exception.

        A FULL one is on the disk then; a NORMAL one may be undone by a power cut.
        """
        with self.mutex, self.db:
            self.db.execute(f"PRAGMA synchronous={synchronous}")
            self.db.execute("BEGIN IMMEDIATE")
            yield self.db

    def room(self) -> int:
        """Bytes that are free on the disk, or in the file, which never shrinks."""
        with self.mutex:
            (pages,) = self.db.execute("PRAGMA freelist_count").fetchone()
            (page_size,) = self.db.execute("PRAGMA page_size").fetchone()
        return shutil.disk_usage(self._path.parent).free + int(pages) * int(page_size)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(
        path,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        db.executescript(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db
