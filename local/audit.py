"""Compare the outbox's ledger with the bucket: ./just audit."""

import argparse
import fcntl
import hashlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table

from bus.topics import face_key
from local.containers import COMPOSE, containers
from local.stack import BUCKET, Stack, StackError, answers


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
        """The ledger at this moment, while a detector may be writing; raises LedgerError."""
        with closing(_open(outbox)) as db:
            edge, camera, captured = _rows(db, "SELECT edge, camera, last_seq FROM outbox")[0]
            waiting = _rows(db, "SELECT count(*) FROM captures WHERE png IS NOT NULL")[0][0]
            gaps = _rows(db, "SELECT first, last, reason FROM gaps ORDER BY first")
        return cls(edge, camera, captured, waiting, gaps)

    def given_up(self, reason: str) -> int:
        """How many seqs are gaps for this reason."""
        return sum(last - first + 1 for first, last, why in self.gaps if why == reason)

    @property
    def stored(self) -> int:
        """How many a receipt has named as stored."""
        return self.captured - self.waiting - sum(last - first + 1 for first, last, _ in self.gaps)


@dataclass
class Findings:
    """What an audit found; `missing` and `twice` hold seqs, `spoilt` keys whose bytes are not those captured."""

    captured: int = 0
    stored: int = 0
    waiting: int = 0
    dropped: int = 0
    quarantined: int = 0
    missing: list[int] = field(default_factory=list)
    twice: list[int] = field(default_factory=list)
    spoilt: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is lost and nothing is there twice."""
        return not (self.missing or self.twice or self.spoilt)

    def line(self) -> str:
        """The last line of a demo and an audit."""
        lost = len(self.missing) + len(self.spoilt)
        return f"captured={self.captured} stored={self.stored} lost={lost} duplicated={len(self.twice)}"

    def table(self) -> Table:
        """The same for people."""
        table = Table("", "captures", title="outbox ledger against bucket")
        for name in ("captured", "stored", "waiting", "dropped", "quarantined"):
            table.add_row(name, str(getattr(self, name)))
        for name in ("missing", "twice", "spoilt"):
            found = getattr(self, name)
            table.add_row(name, f"{len(found)}: {', '.join(map(str, found[:20]))}" if found else "0")
        return table


def audit(outbox: Path, s3: Any, bucket: str) -> Findings:
    """Compare, seq by seq and byte by byte. The ledger is read first, so a running system is no cause for alarm."""
    ledger = Ledger.read(outbox)
    with closing(_open(outbox)) as db:
        waiting = {seq for (seq,) in _rows(db, "SELECT seq FROM captures WHERE png IS NOT NULL")}
        hashes = dict(_rows(db, "SELECT seq, sha256 FROM captures"))
        times = {seq: json.loads(facts)["captured_at"] for seq, facts in _rows(db, "SELECT seq, facts FROM captures")}
    found = Findings(captured=ledger.captured)
    seen = bytearray(ledger.captured + 1)

    def look(key: str) -> None:
        named = re.search(r"Z-(\d{9})\.png$", key)
        seq = int(named[1]) if named else 0
        if not 0 < seq <= ledger.captured:
            return  # captured since the ledger was read, or nobody's
        seen[seq] = min(seen[seq] + 1, 2)
        if seq in hashes:
            body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            expected = face_key(ledger.edge, ledger.camera, datetime.fromisoformat(times[seq]), seq)
            if hashlib.sha256(body).hexdigest() != hashes[seq] or key != expected:
                found.spoilt.append(key)

    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(look, _keys(s3, bucket, f"faces/{ledger.edge}/{ledger.camera}/")):
            pass
    gaps = {seq: reason for first, last, reason in ledger.gaps for seq in range(first, last + 1)}
    for seq in range(1, ledger.captured + 1):
        found.stored += seen[seq] > 0
        if seen[seq] > 1:
            found.twice.append(seq)
        elif not seen[seq] and seq in waiting:
            found.waiting += 1
        elif not seen[seq] and seq in gaps:
            found.quarantined += gaps[seq] == "quarantined"
            found.dropped += gaps[seq] != "quarantined"
        elif not seen[seq]:
            found.missing.append(seq)
    return found


def _keys(s3: Any, bucket: str, prefix: str) -> Iterator[str]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from (item["Key"] for item in page.get("Contents", ()))


def _open(outbox: Path) -> sqlite3.Connection:
    if not outbox.is_file():
        raise LedgerError(f"there is no outbox {outbox}: run ./just demo first, or name one with --outbox")
    return sqlite3.connect(f"{outbox.resolve().as_uri()}?mode=ro", uri=True, timeout=5)


def _rows(db: sqlite3.Connection, query: str) -> list[Any]:
    try:
        return db.execute(query).fetchall()
    except sqlite3.Error as error:
        raise LedgerError(f"the outbox cannot be read ({error}): is it a detector's?") from None


def main() -> None:
    """Audit the last demo, or any outbox and bucket that this machine reaches."""
    parser = argparse.ArgumentParser("./just audit", description=__doc__)
    parser.add_argument("--outbox", type=Path, help="a detector's outbox (the last demo's)")
    parser.add_argument("--bucket", default=BUCKET, help="(%(default)s)")
    parser.add_argument("--endpoint", help="the store's URL (AWS S3); keys come from AWS_* as everywhere")
    parser.add_argument("--demo", action="store_true", help="the last demo, even if containers run")
    chosen = parser.parse_args()
    if not (chosen.outbox or chosen.demo) and containers("compose"):
        print("the containers:", file=sys.stderr)
        sys.exit(subprocess.run([*COMPOSE, "run", "--rm", "--quiet-pull", "audit"], check=False).returncode)
    try:
        if chosen.outbox:
            config = Config(s3={"addressing_style": "path"} if chosen.endpoint else {})
            found = audit(chosen.outbox, boto3.client("s3", endpoint_url=chosen.endpoint, config=config), chosen.bucket)
        else:
            found = audit_demo(Path(os.environ.get("RUN", ".run/demo")))
    except (LedgerError, StackError, ClientError, BotoCoreError) as error:
        sys.exit(str(error))
    Console().print(found.table())
    print(found.line())
    sys.exit(not found.sound)


def audit_demo(folder: Path) -> Findings:
    """Audit what a demo left in `folder`, with its store running or not."""
    _open(folder / "detector" / "outbox.db").close()
    with Stack(folder) as stack:
        running = folder / "store.url"
        with (folder / "store.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a second audit waits, for a store has one server
            if running.exists() and answers(running.read_text()):
                stack.s3_url = running.read_text()
            else:
                stack.start("store")
            return audit(stack.outbox, stack.s3(), BUCKET)


if __name__ == "__main__":
    main()
