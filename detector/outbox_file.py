"""The file of an outbox: SQLite, opened by one detector at a time."""

import fcntl
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

from bus.log import log
from bus.topics import CameraId
from detector.high_water_mark import BLOCK, HighWaterMark, note_given
from detector.outbox_schema import BUSY_TIMEOUT_S, LARGEST_SEQ, LEDGER, SPOILT, connect, is_broken
from detector.salvage import finish, salvage

JUMP = 100_000  # seqs and lives that are passed over where nobody knows how many there were
LIVES_AT_MOST = 2**31 - 1  # a transmission's number has its life above 32 bits


class OutboxError(SystemExit):
    """The outbox cannot be used; the text says why and what to do. It ends the process."""


class OutboxFile:
    """The database, its lock, its transactions; for several threads of one process.

    `last_seq` is the newest that was given when it was opened, `life` says how often it was, this
    time included. A file that is broken is salvaged. Raises OutboxError if it is in use, another
    camera's, or cannot be read or written at all.
    """

    def __init__(self, path: Path, camera_id: CameraId) -> None:
        self.mutex = threading.RLock()
        self.last_seq = 0
        self.life = 0
        self._path = path
        self._camera_id = camera_id
        self._mark_file = Path(f"{path}.mark")
        self._mark = HighWaterMark.read(self._mark_file)
        with ExitStack() as undo:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                lock = undo.enter_context(Path(f"{path}.lock").open("a"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                finish(path)
                self._connect()
            except BlockingIOError:
                raise OutboxError(
                    f"OUTBOX: {path} is in use by another detector: set another file"
                ) from None
            except (OSError, sqlite3.Error) as error:
                raise OutboxError(
                    f"OUTBOX: {path} cannot be used ({error}): set a file on a writable disk"
                ) from None
            self._unlock = undo.pop_all()

    def _connect(self) -> None:
        try:
            self.db = connect(self._path)
            self._claim()
        except sqlite3.Error as error:
            if not is_broken(error):
                raise
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB and not self._mark:
                raise  # somebody else's file, perhaps
            self.heal(error)

    def heal(self, why: sqlite3.Error) -> None:
        """Go on with what can be read of a file that is broken; raises OutboxError."""
        try:
            with self.mutex:
                with suppress(AttributeError, sqlite3.Error):
                    self.db.close()
                salvaged = salvage(self._path, self._camera_id)
                self.db = connect(self._path)
                self._claim(salvaged=True)
        except (OSError, sqlite3.Error) as error:
            raise OutboxError(
                f"OUTBOX: {self._path} is broken ({why}) and cannot be salvaged ({error}):"
                " make room on its disk, or move it away"
            ) from None
        log.error(
            "outbox salvaged",
            extra={
                "camera": self._camera_id.camera,
                "reason": str(why),
                "captures": salvaged.captures,
                "kept": str(salvaged.kept),
            },
        )

    def _claim(self, *, salvaged: bool = False) -> None:
        """See whose it is and how far it has come, by the file and by the mark beside it."""
        self.db.execute(
            "INSERT INTO outbox SELECT ?, ?, 0, 0 WHERE NOT EXISTS (SELECT * FROM outbox)",
            self._camera_id,
        )
        edge, camera, last_seq, life = self.db.execute("SELECT * FROM outbox").fetchone()
        mark = self._mark
        owner = mark.camera_id if mark else CameraId(edge, camera)
        if owner != self._camera_id:
            self.db.close()
            raise OutboxError(f"OUTBOX: {self._path} belongs to {owner}: set EDGE and CAMERA so")
        highest = self._highest()
        self.last_seq = _trusted_seq(last_seq, highest, mark, salvaged=salvaged)
        self.life = _trusted_life(life, mark, salvaged=salvaged)
        self._mark_up_to(max(self.last_seq, mark.reserved if mark else 0))
        with self.transaction() as db:
            db.execute("DELETE FROM captures WHERE seq < 1 OR seq > ?", (self.last_seq,))
            if salvaged or highest != self.last_seq:
                for run in self._unexplained(1 if salvaged else highest + 1):
                    db.execute("INSERT OR REPLACE INTO gaps VALUES (?, ?, ?)", (*run, SPOILT))
            db.execute(
                "UPDATE outbox SET edge = ?, camera = ?, last_seq = ?, life = ?",
                (*self._camera_id, self.last_seq, self.life),
            )

    def _highest(self) -> int:
        """The highest seq that has a row; the newest capture has one, whatever became of it."""
        query = "SELECT max(seq) FROM captures UNION SELECT max(last) FROM gaps"
        return max((seq for (seq,) in self.db.execute(query) if isinstance(seq, int)), default=0)

    def _unexplained(self, first: int) -> Iterator[tuple[int, int]]:
        """The runs of seqs from `first` to the newest of which the file knows nothing."""
        query = "SELECT seq, seq FROM captures UNION ALL SELECT first, last FROM gaps ORDER BY 1"
        known = self.db.execute(query).fetchall()
        if known and self.last_seq > LEDGER:
            first = max(first, known[0][0])  # what was settled long ago is forgotten
        for begin, end in [*known, (self.last_seq + 1, 0)]:
            if begin > first:
                yield first, begin - 1
            first = max(first, end + 1)

    def reserve(self, seq: int) -> None:
        """Have it on the disk that `seq` is given, whatever becomes of the file; raises OSError."""
        if not self._mark or seq > self._mark.reserved:
            self._mark_up_to(seq + BLOCK)

    def given(self, seq: int) -> None:
        """Note that `seq` was committed: if the file has less some day, the disk has lost it."""
        with self.mutex:
            self.last_seq = seq
        with suppress(OSError):  # what is reserved bounds it still
            note_given(self._mark_file, seq)

    def _mark_up_to(self, reserved: int) -> None:
        mark = HighWaterMark(self.last_seq, reserved, self.life, self._camera_id)
        mark.write(self._mark_file)
        self._mark = mark

    def close(self) -> None:
        """Give the file up; everything committed stays in it."""
        with self.mutex:
            self.db.close()
            self._unlock.close()

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

    def empty_journal(self) -> bool:
        """Bring the journal into the file and empty it; False where that does not go just now.

        A reader in the way is not waited for: a capture may want to be added meanwhile.
        """
        try:
            with self.mutex, self._impatient():
                ((busy, _, _),) = self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError:  # the disk is full, for instance
            return False
        return not busy

    @contextmanager
    def _impatient(self) -> Iterator[None]:
        self.db.execute("PRAGMA busy_timeout=0")
        try:
            yield
        finally:
            self.db.execute(f"PRAGMA busy_timeout={1000 * BUSY_TIMEOUT_S}")

    def room(self) -> int:
        """Bytes that are free on the disk, or in the file, which never shrinks."""
        with self.mutex:
            (pages,) = self.db.execute("PRAGMA freelist_count").fetchone()
            (page_size,) = self.db.execute("PRAGMA page_size").fetchone()
        return shutil.disk_usage(self._path.parent).free + int(pages) * int(page_size)


def _trusted_seq(
    last_seq: object, highest: int, mark: HighWaterMark | None, *, salvaged: bool
) -> int:
    """The newest seq that was given, or one above it where the file has lost it.

    `last_seq` is the file's word for it, `highest` that of its rows.
    """
    if mark is None:
        said = last_seq if isinstance(last_seq, int) and last_seq <= LARGEST_SEQ else 0
        newest = max(said, highest)
        return newest + JUMP if salvaged else newest
    if last_seq == highest > mark.reserved:
        return highest  # an older version went on, which knows no mark
    is_plausible = mark.given <= highest <= mark.reserved
    return highest if is_plausible and not salvaged else mark.reserved


def _trusted_life(life: object, mark: HighWaterMark | None, *, salvaged: bool) -> int:
    if mark:
        return mark.life + 1
    if salvaged or not isinstance(life, int) or not 0 <= life < LIVES_AT_MOST:
        return JUMP
    return life + 1
