"""What the file of an outbox holds, and how it is opened."""

import sqlite3
from pathlib import Path

LEDGER = 100_000  # settled captures whose hash is remembered for the audit
OWNER_ONLY = 0o600
LARGEST_SEQ = 999_999_999  # the contract's

# Reasons of gaps.
FULL = "outbox full"
SPOILT = "spoilt on disk"
QUARANTINED = "quarantined"

# `captures` holds a row per capture: its `png` until the receipt, its hash for a while after.
# `refusals` says how often a waiting one was refused.
# `gaps` holds the runs of seqs that will never be in the bucket.
_SCHEMA = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
PRAGMA secure_delete=ON;
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
BUSY_TIMEOUT_S = 5
_PRIMARY_CODE = 0xFF  # of SQLite's error codes, which have a finer part above it
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def connect(path: Path) -> sqlite3.Connection:
    """Open an outbox's database, and make what it lacks; raises OSError and sqlite3.Error.

    Only its owner may read it: it holds faces.
    """
    path.touch(mode=OWNER_ONLY)
    path.chmod(OWNER_ONLY)
    db = sqlite3.connect(
        path,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    db.text_factory = text
    try:
        db.executescript(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db


def text(stored: bytes) -> str:
    """A text of the file; one that the disk has spoilt is its row's fault, and no other's."""
    return stored.decode(errors="replace")


def is_broken(error: sqlite3.Error) -> bool:
    """Whether the file itself is, and not the disk or a lock."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & _PRIMARY_CODE in _BROKEN
