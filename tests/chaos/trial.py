"""One trial: the whole system under a load, one fault, and what became of every single capture.

Longer than other modules: what a fault may do and ask stands in one class, so that a fault reads as
a sentence.
"""

import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from audit.compare import audit
from demo.stack import BUCKET, PARTS, Stack
from detector.outbox_reader import Ledger, LedgerError
from tests.chaos.commits import Commits
from tests.chaos.comparison import compare
from tests.chaos.outcome import Outcome
from tests.support.faulty_proxy import FaultyProxy
from tests.support.gateway import Gateway
from tests.support.waiting import TooLateError, until

LOADED = ("detector", "edge-broker", "cloud-broker", "processor", "store")  # may be killed or hung
MEASURED = ("edge-broker", "cloud-broker", "processor", "detector")  # whose memory is noted
SAMPLE_S = 0.5  # between two looks at memory and outbox
T = TypeVar("T")


class TrialError(Exception):
    """The fault could not be made, or did not do what it should; the text says which and why."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What comes from the camera: captures a second, and the least and most bytes of one."""

    rate: float = 20
    sizes: tuple[int, int] = (5_000, 150_000)


@dataclass(frozen=True)
class Healed:
    """When the fault was over (monotonic), and the newest capture then."""

    at: float
    seq: int


class Trial:
    """A system of its own in `folder`, under a load; a context manager.

    `rng` makes every random choice; `brief` shortens what lasts long. A bucket that is `versioned`
    shows a second put of the same bytes.
    """

    def __init__(
        self,
        folder: Path,
        load: Load,
        *,
        seed: int,
        brief: bool = False,
        versioned: bool = True,
    ) -> None:
        self.folder = folder
        self.rng = random.Random(folder.name)
        self.brief = brief
        self.outcome = Outcome("", seed)
        self.excused = ""  # why captures may be given up in this trial; elsewhere none may
        self.commits = Commits(folder / "commits")
        self.stack = Stack(folder)
        self.stack.programs["detector"] = "tests.chaos.source"
        self._quiet = folder / "quiet"
        self._versioned = versioned
        self._healed: Healed | None = None
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample)
        self._open = ExitStack()
        least, most = load.sizes
        self.set(
            "detector",
            MODE="every",
            RATE=str(load.rate),
            SIZES=f"{least}-{most}",
            COMMITS=str(self.commits.path),
            QUIET=str(self._quiet),
        )

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.commits.path.touch()
        with ExitStack() as undo:
            undo.enter_context(self.stack)
            self.link = undo.enter_context(FaultyProxy(self.stack.ports["cloud"]))
            self.gateway = undo.enter_context(Gateway(self.stack.ports["s3"]))
            self.stack.bridge_port = self.link.port
            self.set("processor", S3_ENDPOINT_URL=f"http://127.0.0.1:{self.gateway.port}")
            self._sampler.start()
            undo.callback(self._end)
            self._open = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _end(self) -> None:
        self._over.set()
        self._sampler.join()

    # --- what a fault is made of

    def set(self, part: str, **settings: str) -> None:
        """Give a part settings for its next start."""
        for name, value in settings.items():
            self.stack.set(part, name, value)

    def start(self, *, without: str = "") -> None:
        """Start everything but the logger and `without`; let captures come for a little while."""
        for part in PARTS:
            if part not in ("logger", without):
                self.stack.start(part)
            if part == "store":
                self.make_bucket()
        self.wait(3)

    def make_bucket(self) -> None:
        """Make the bucket, with versions if it is to have them."""
        s3 = self.stack.s3()
        s3.create_bucket(Bucket=BUCKET)
        if self._versioned:
            s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})

    def wait(self, seconds: float, brief: float | None = None) -> None:
        """Let time pass; `brief` is for the short form."""
        if brief is not None and self.brief:
            seconds = brief
        time.sleep(seconds)

    def count(self, many: int, brief: int) -> int:
        """How often something happens."""
        return brief if self.brief else many

    def moment(self, least: float = 0.2, most: float = 3.0) -> None:
        """Wait for a random moment under load."""
        time.sleep(self.rng.uniform(least, most))

    def until(self, what: Callable[[], T | None], seconds: float, otherwise: str) -> T:
        """The first true value of `what`; raises TrialError, which says `otherwise`."""
        try:
            return until(what, seconds, pause=0.1)
        except TooLateError as error:
            raise TrialError(f"{otherwise}: {error}") from None

    def expect(self, truth: object, otherwise: str) -> None:
        """Say that the fault did not do what it should, unless `truth`."""
        if not truth:
            raise TrialError(otherwise)

    def kill(self, *parts: str) -> None:
        """SIGKILL, all at the same moment, then a new start of each after a random pause."""
        self.stack.kill(*parts)
        self.moment(0, 1.5)
        for part in PARTS:
            if part in parts:
                self.stack.start(part)

    def heal(self) -> None:
        """Note that the fault is over: from here on recovery is measured."""
        self._healed = Healed(time.monotonic(), self.last_seq())

    # --- what is known

    def ledger(self) -> Ledger:
        """What the outbox knows; where it cannot be read just now, what it knows a little later."""
        return self.until(self._ledger, 10, otherwise="the outbox cannot be read")

    def _ledger(self) -> Ledger | None:
        try:
            return Ledger.read(self.stack.outbox)
        except LedgerError:
            return None

    def last_seq(self) -> int:
        """The newest capture."""
        return self.ledger().captured

    def waiting(self) -> int:
        """How many captures have no receipt."""
        return self.ledger().waiting

    def waiting_until(self, newest: int) -> int:
        """How many captures, up to the seq `newest`, have no receipt."""
        return sum(1 for seq in self.ledger().waiting_seqs if seq <= newest)

    def said(self, part: str, event: str) -> int:
        """How often a client has said so, of one's own cell."""
        return self.said_by(self.stack, part, event)

    def said_by(self, stack: Stack, part: str, event: str) -> int:
        """How often a client has said so, of any stack."""
        log = stack.folder / part / "log"
        if not log.exists():
            return 0
        return log.read_bytes().count(f'"event": "{event}"'.encode())

    def rss_mb(self, part: str) -> float:
        """Resident memory of a part in MB; 0 if it does not run."""
        try:
            status = Path(f"/proc/{self.stack.pid(part)}/status").read_text()
            return int(status.partition("VmRSS:")[2].split()[0]) / 1024
        except (OSError, KeyError, IndexError):
            return 0.0

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_S):
            ledger = self._ledger()
            if ledger:
                self.outcome.peak_waiting = max(self.outcome.peak_waiting, ledger.waiting)
            for part in MEASURED:
                self.outcome.peak(part, self.rss_mb(part))

    # --- the end

    def finish(self, drain_s: float = 120) -> None:
        """Let captures come a little longer, end the load, wait for the outbox, compare."""
        self._must_load()
        if self._healed is None:
            self.heal()
        assert self._healed
        begun = time.monotonic()
        self._drain(self._healed.seq, deadline=begun + drain_s)
        self.outcome.recovery_s = time.monotonic() - self._healed.at
        self.wait(2)
        self._quiet.touch()  # the source ends: its detector gives the last shots, drains, and ends
        ended = self._detector_ends(deadline=begun + drain_s + 10)
        left = self.waiting()
        if left or not ended:
            waited_s = time.monotonic() - begun
            self.outcome.trouble = f"{left} still wait after {waited_s:.0f} s"
        self.outcome.absorbed = self.said("processor", "absorbed")
        self.compare()

    def _must_load(self) -> None:
        code = self.stack.ended("detector")
        if code is not None:
            obituary = self.stack.obituary("detector")
            raise TrialError(f"the load ended by itself: {obituary} ({code})")

    def _drain(self, newest: int, deadline: float) -> None:
        """Wait until no capture up to the seq `newest` waits, or until the deadline."""
        while self.waiting_until(newest) and time.monotonic() < deadline:
            time.sleep(0.05)

    def _detector_ends(self, deadline: float) -> bool:
        """Whether the detector, its source ended, sees every receipt before the deadline."""
        while self.stack.ended("detector") != 0:
            self._must_load()
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def compare(self) -> None:
        """Every commit that the outbox has told of, against the bucket."""
        s3 = self.stack.s3()  # past the gateway
        ledger = self.ledger()
        compare(
            self.outcome,
            committed=self.commits.read(),
            explained=[gap for gap in ledger.gaps if gap.reason == self.excused],
            camera_id=ledger.camera_id,
            s3=s3,
        )
        # A plain bucket shows no second put, so what the store took is counted too.
        taken_twice = sum(1 for count in self.gateway.taken.values() if count > 1)
        self.outcome.twice = max(self.outcome.twice, taken_twice)
        found = audit(self.stack.outbox, s3, BUCKET)
        blamed = self.outcome.lost or self.outcome.twice or self.outcome.trouble
        if not found.sound and not blamed:
            self.outcome.trouble = f"the audit says {found.line()}"
