"""What can be read of an outbox whose file is broken, in a new file; the old one is kept."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bus.topics import CameraId
from detector.high_water_mark import sync_folder
from detector.outbox_schema import LARGEST_SEQ, connect, text

_ORDERS = ("ASC", "DESC")  # from each end up to what cannot be read
_BESIDE = ("-wal", "-shm")  # SQLite's own files


@dataclass(frozen=True)
class Salvaged:
    """What became of a broken outbox: where it is now, and how many captures were read of it."""

    kept: Path
    captures: int


def salvage(path: Path, camera_id: CameraId) -> Salvaged:
    """Put a new outbox in the place of a broken one.

    Its newest seq and its life are for the caller to set. Raises OSError and sqlite3.Error.
    """
    fresh = _fresh(path)
    _remove(fresh)
    with closing(_opened(path)) as old, closing(connect(fresh)) as new:
        new.execute("BEGIN")
        new.execute("INSERT INTO outbox VALUES (?, ?, 0, 0)", camera_id)
        for row in _rows(old, "captures", "seq"):
            new.execute("INSERT OR IGNORE INTO captures VALUES (?, ?, ?, ?, ?)", row)
        for row in _rows(old, "refusals", "seq"):
            new.execute("INSERT OR IGNORE INTO refusals VALUES (?, ?)", row)
        for row in _rows(old, "gaps", "first"):
            if _is_gap(*row):
                new.execute("INSERT OR IGNORE INTO gaps VALUES (?, ?, ?)", row)
        (captures,) = new.execute("SELECT count(*) FROM captures").fetchone()
        new.execute("COMMIT")
    kept = _put_aside(path)
    fresh.replace(path)
    sync_folder(path.parent)
    return Salvaged(kept, captures)


def finish(path: Path) -> None:
    """Go on with a salvage that was interrupted when the old file had gone aside."""
    fresh = _fresh(path)
    if fresh.exists() and not path.exists():
        for name in _BESIDE:  # the old file's, which SQLite would take for the new one's
            Path(f"{path}{name}").unlink(missing_ok=True)
        fresh.replace(path)
    _remove(fresh)


def _fresh(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _remove(path: Path) -> None:
    for name in ("", *_BESIDE):
        Path(f"{path}{name}").unlink(missing_ok=True)


def _put_aside(path: Path) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    kept = path.with_name(f"{path.name}.broken-{stamp}")
    for name in ("", *_BESIDE):  # the file itself first: `finish` goes by it
        there = Path(f"{path}{name}")
        if there.exists():
            there.replace(f"{kept}{name}")
    return kept


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.text_factory = text
    return db


def _is_gap(first: Any, last: Any, reason: Any) -> bool:
    numbers = isinstance(first, int) and isinstance(last, int)
    return numbers and isinstance(reason, str) and 1 <= first <= last <= LARGEST_SEQ


def _rows(db: sqlite3.Connection, table: str, key: str) -> Iterator[tuple[Any, ...]]:
    """The rows that can be read: from both ends, then one by one between them."""
    seen: set[int] = set()
    for order in _ORDERS:
        with suppress(sqlite3.Error):
            for row in db.execute(f"SELECT * FROM {table} ORDER BY {key} {order}"):  # noqa: S608 - ours
                if row[0] in seen:
                    return  # they have met
                seen.add(row[0])
                if 1 <= row[0] <= LARGEST_SEQ:
                    yield row
            return
    for seq in range(min(seen, default=0) + 1, max(seen, default=0)):
        if seq not in seen:
            yield from _row(db, f"SELECT * FROM {table} WHERE {key} = ?", seq)  # noqa: S608 - ours


def _row(db: sqlite3.Connection, query: str, seq: int) -> list[tuple[Any, ...]]:
    try:
        return db.execute(query, (seq,)).fetchall()
    except sqlite3.Error:
        return []
