"""One trial: the whole system under a steady load of captures, one fault, and what became of every single capture."""

import hashlib
import os
import random
import re
import shutil
import signal
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from audit.compare import audit
from demo.stack import BUCKET, PARTS, Stack
from tests.support.faulty_proxy import Link
from tests.support.gateway import Gateway

LOADED = (
    "detector",
    "edge-broker",
    "cloud-broker",
    "processor",
    "store",
)  # what may be killed or hung
MEASURED = ("edge-broker", "cloud-broker", "processor", "detector")


class TrialError(Exception):
    """The fault could not be made, or did not do what it should; the text says which and why."""


@dataclass
class Row:
    """What one trial measured. Sizes are MB of resident memory at the peak, times seconds."""

    fault: str
    seed: int
    captured: int = 0
    stored: int = 0
    lost: int = 0
    twice: int = 0
    dropped: int = 0
    absorbed: int = 0
    recovery: float = 0.0
    peak_waiting: int = 0
    peak: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    note: str = ""
    trouble: str = ""

    @property
    def sound(self) -> bool:
        """Whether nothing was lost or doubled, and the fault was what it should be."""
        return not (self.lost or self.twice or self.trouble) and self.captured > 0


class Trial:
    """A system of its own in `folder`, loaded by `rate` captures a second of `sizes` bytes; a context manager.

    `rng` makes every random choice; `brief` shortens what lasts long. The bucket keeps versions unless told otherwise,
    so that a second put of the same bytes shows.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        brief: bool,
        rate: float = 20,
        sizes: tuple[int, int] = (5_000, 150_000),
        versions: bool = True,
    ) -> None:
        self.rng, self.brief, self._versioned = random.Random(folder.name), brief, versions
        self.folder, self.commits, self._quiet = folder, folder / "commits", folder / "quiet"
        load = {
            "MODE": "every",
            "RATE": str(rate),
            "SIZES": f"{sizes[0]}-{sizes[1]}",
            "COMMITS": str(self.commits),
        }
        self.stack = Stack(folder, env={"detector": {**load, "QUIET": str(self._quiet)}})
        self.stack.programs["detector"] = "tests.chaos.source"
        self.row = Row("", seed)
        self.excused = (
            ""  # the reason for which captures may be given up in this trial; elsewhere none may
        )
        self._healed: tuple[float, int] | None = None
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.commits.touch()
        try:
            self._open.enter_context(self.stack)
            self.link = self._open.enter_context(Link(self.stack.ports["cloud"]))
            self.stack.bridge_port = self.link.port
            self.gateway = self._open.enter_context(Gateway(self.stack.ports["s3"]))
            self.stack.set("processor", "S3_ENDPOINT_URL", f"http://127.0.0.1:{self.gateway.port}")
            self._sampler.start()
            self._open.callback(self._end)
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._open.close()

    def _end(self) -> None:
        self._over.set()
        self._sampler.join()

    # --- what a fault is made of

    def start(self, without: tuple[str, ...] = ()) -> None:
        """Start everything but the logger and `without`, and let captures come for a little while."""
        for part in PARTS:
            if part not in ("logger", *without):
                self.stack.start(part)
            if part == "store":
                self.bucket()
        self.wait(3)

    def bucket(self) -> None:
        """Make the bucket, with versions if it is to have them."""
        s3 = self.stack.s3()
        s3.create_bucket(Bucket=BUCKET)
        if self._versioned:
            s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def long(self, seconds: float, brief: float) -> float:
        """How long something lasts."""
        return brief if self.brief else seconds

    def moment(self, least: float = 0.2, most: float = 3.0) -> None:
        """Wait for a random moment under load."""
        time.sleep(self.rng.uniform(least, most))

    def until(self, what: Callable[[], Any], seconds: float, name: str) -> Any:
        """The first true value of `what`; raises TrialError that says `name` after so many seconds."""
        deadline = time.monotonic() + seconds
        while not (value := what()):
            if time.monotonic() > deadline:
                raise TrialError(f"{name}: not within {seconds:.0f} s")
            time.sleep(0.1)
        return value

    def kill(self, *parts: str) -> None:
        """SIGKILL, all at the same moment, then a new start of each after a random pause."""
        self.stack.kill(*parts)
        self.moment(0, 1.5)
        self.stack.start(*(part for part in PARTS if part in parts))

    def heal(self) -> None:
        """Note that the fault is over: from here on recovery is measured."""
        self._healed = (time.monotonic(), self.last_seq())

    def expect(self, truth: bool, name: str) -> None:
        """Say that the fault did not do what it should, unless `truth`."""
        if not truth:
            raise TrialError(name)

    # --- what is known

    def outbox(self) -> sqlite3.Connection:
        """The outbox, to read."""
        return sqlite3.connect(f"{self.stack.outbox.as_uri()}?mode=ro", uri=True, timeout=5)

    def one(self, query: str) -> int:
        """A number from the outbox; 0 if it cannot be asked now."""
        try:
            with closing(self.outbox()) as db:
                return int(db.execute(query).fetchone()[0] or 0)
        except (sqlite3.Error, TypeError):
            return 0

    def last_seq(self) -> int:
        """The newest capture."""
        return self.one("SELECT last_seq FROM outbox")

    def waiting(self, newest: int = 10**9) -> int:
        """How many captures, up to the seq `newest`, have no receipt."""
        return self.one(
            f"SELECT count(*) FROM captures INDEXED BY waiting WHERE png IS NOT NULL AND seq <= {newest}"
        )

    def said(self, part: str, event: str) -> int:
        """How often a client has said so."""
        log = self.stack.folder / part / "log"
        return log.read_bytes().count(f'"event": "{event}"'.encode()) if log.exists() else 0

    def rss(self, part: str) -> float:
        """Resident memory of a part in MB; 0 if it does not run."""
        try:
            status = Path(f"/proc/{self.stack.pid(part)}/status").read_text()
            return int(status.partition("VmRSS:")[2].split()[0]) / 1024
        except (OSError, KeyError, IndexError):
            return 0.0

    def _sample(self) -> None:
        while not self._over.wait(0.5):
            self.row.peak_waiting = max(self.row.peak_waiting, self.waiting())
            for part in MEASURED:
                self.row.peak[part] = max(self.row.peak.get(part, 0), self.rss(part))

    # --- the end

    def finish(self, drain: float = 120) -> Row:
        """Let captures come a little longer, end the load, wait until the outbox is empty, compare."""
        row = self.row
        if (code := self.stack.ended("detector")) is not None:
            raise TrialError(
                f"the load ended by itself: {self.stack.obituary('detector')} ({code})"
            )
        if self._healed is None:
            self.heal()
        assert self._healed
        at, seq = self._healed
        deadline = time.monotonic() + drain
        while self.waiting(seq) and time.monotonic() < deadline:
            time.sleep(0.05)
        row.recovery = time.monotonic() - at
        self.wait(2)
        self._quiet.touch()
        while self.waiting() and time.monotonic() < deadline + 10:
            time.sleep(0.05)
        if left := self.waiting():
            row.trouble = f"{left} still wait after {drain:.0f} s"
        row.absorbed = self.said("processor", "absorbed")
        self.compare()
        return row

    def compare(self) -> None:
        """Every commit that the outbox has reported, against the bucket: there once, with its bytes, or explained."""
        row, committed = self.row, dict[int, str]()
        for line in self.commits.read_text().splitlines():
            seq, sha256 = line.split()
            if committed.setdefault(int(seq), sha256) != sha256:
                row.trouble = f"seq {seq} was given twice"
        with closing(self.outbox()) as db:
            gaps = db.execute(
                "SELECT first, last FROM gaps WHERE reason = ?", (self.excused,)
            ).fetchall()
        explained = {seq for first, last in gaps for seq in range(first, last + 1)}
        row.captured = len(committed)
        there: dict[int, list[bool]] = defaultdict(list)
        s3 = self.stack.s3()  # past the gateway

        def same(item: tuple[str, str]) -> tuple[int, bool]:
            seq = int(item[0][-13:-4])
            digest = hashlib.sha256()
            for chunk in s3.get_object(Bucket=BUCKET, Key=item[0], VersionId=item[1])[
                "Body"
            ].iter_chunks(65536):
                digest.update(chunk)
            return seq, committed.get(seq, digest.hexdigest()) == digest.hexdigest()

        with ThreadPoolExecutor(8) as pool:
            for batch in self._versions(s3):
                for seq, good in pool.map(same, batch):
                    there[seq].append(good)
        row.stored = sum(1 for seq in committed if True in there[seq])
        row.lost = sum(1 for seq in committed if True not in there[seq] and seq not in explained)
        row.dropped = row.captured - row.stored - row.lost
        row.twice = sum(1 for seq, copies in list(there.items()) if len(copies) > 1)
        # A plain bucket shows no second put, so what the store took is counted too.
        row.twice = max(row.twice, sum(1 for count in self.gateway.taken.values() if count > 1))
        found = audit(self.stack.outbox, s3, BUCKET)
        if not found.sound and not (row.lost or row.twice or row.trouble):
            row.trouble = f"the audit says {found.line()}"

    def _versions(self, s3: Any) -> Iterator[list[tuple[str, str]]]:
        for page in s3.get_paginator("list_object_versions").paginate(
            Bucket=BUCKET, Prefix="faces/"
        ):
            yield [(item["Key"], item["VersionId"]) for item in page.get("Versions", ())]


def _interrupted(*_: object) -> None:
    """Stop once; what is cleaned up then is not disturbed by a second signal."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def run(
    name: str,
    fault: Callable[["Trial"], None],
    options: dict[str, Any],
    seed: int,
    brief: bool,
    place: str,
) -> Row:
    """Run one trial in a folder of its own below `place`, which is kept only if something was wrong."""
    os.umask(0o077)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)  # a shell's background job would ignore the first
    folder, begun = Path(place) / f"{re.sub('[^a-z0-9]+', '-', name)}-{seed}", time.monotonic()
    trial = Trial(folder, seed, brief, **options)
    try:
        with trial:
            fault(trial)
            if not trial.row.captured:
                trial.finish()
    except KeyboardInterrupt:
        raise
    except Exception as error:
        trial.row.trouble = f"{type(error).__name__}: {error}"
    trial.row.fault, trial.row.seconds = name, time.monotonic() - begun
    if trial.row.sound:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        trial.row.trouble = trial.row.trouble or "see its folder"
        trial.row.trouble += f"; kept in {folder}"
    return trial.row
