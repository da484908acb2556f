"""Loads that are too much, or last too long."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from bus.message import Message
from bus.topics import CameraId
from detector.outbox import Outbox
from tests.chaos.catalogue import fault
from tests.chaos.source import BOX, FRAME_SIZE, picture
from tests.chaos.trial import Load, Trial
from tests.support.captures import shot
from tests.support.peer import Peer

HUGE = 10**10  # bytes; an outbox that never fills


@fault("garbage floods another edge's topics", alone=True)
def flood(trial: Trial) -> None:
    trial.start()
    trial.wait(5)
    quiet = receipt_s(trial, 20, brief=8)
    with flooding(trial):
        flooded = receipt_s(trial, 30, brief=10)
    trial.heal()
    trial.finish()
    trial.expect(trial.said("processor", "quarantined") > 100, "no garbage arrived")
    note = f"receipt after {quiet * 1000:.0f} ms; in the flood after {flooded * 1000:.0f} ms"
    trial.outcome.note = note
    trial.expect(flooded <= 2 * max(quiet, 0.02), f"latency was more than doubled: {note}")


@contextmanager
def flooding(trial: Trial) -> Iterator[None]:
    """A hundred messages a second of 20 KB that are no captures, by another edge."""
    over = threading.Event()
    certs = trial.stack.bundle("edge-2")
    with Peer(trial.stack.ports["cloud"], certs, name="edge-2") as attacker:

        def attack() -> None:
            while not over.wait(0.01):
                garbage = random.randbytes(20_000)
                attacker.publish(Message("face-detector/edge-2/door", garbage))

        thread = threading.Thread(target=attack)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def receipt_s(trial: Trial, seconds: float, brief: float) -> float:
    """The mean time from sending to receipt, in seconds, measured from now for so long."""

    def total(what: str) -> float:
        return trial.stack.metric("detector", f"facebridge_receipt_seconds_{what}")

    time_before = total("sum")
    receipts_before = total("count")
    trial.wait(seconds, brief)
    receipts = total("count") - receipts_before
    trial.expect(receipts > 0, "no receipt came home")
    return (total("sum") - time_before) / receipts


@fault("24 hours of outage, 100,000 waiting", Load(rate=5, sizes=(5_000, 10_000)), alone=True)
def day_of_outage(trial: Trial) -> None:
    count = trial.count(100_000, brief=3_000)
    fill_outbox(trial, count)
    for part in ("store", "cloud-broker", "edge-broker"):
        trial.stack.start(part)
    trial.make_bucket()
    trial.set("detector", OUTBOX_MAX_BYTES=str(HUGE))
    begun = time.monotonic()
    trial.stack.start("detector")
    ready_s = time.monotonic() - begun
    first_mb = trial.rss_mb("detector")
    trial.stack.start("processor")
    trial.heal()
    trial.finish(drain_s=1500)
    rate = count / trial.outcome.recovery_s
    peak_mb = trial.outcome.peak_mb["detector"]
    memory = f"detector {first_mb:.0f} to {peak_mb:.0f} MB"
    note = f"ready after {ready_s:.1f} s, {rate:.0f}/s out, {memory}"
    trial.outcome.note = note
    small = ready_s < 5 and peak_mb < first_mb + 40
    trial.expect(small, f"start-up or memory grow with the outbox: {note}")


def fill_outbox(trial: Trial, count: int) -> None:
    """Let `count` captures wait, taken one a second until now."""
    trial.stack.outbox.parent.mkdir(parents=True)
    outbox = Outbox(trial.stack.outbox, CameraId("edge-1", "camera"), budget=HUGE)
    now = datetime.now(UTC)
    for seconds in range(count, 0, -1):
        at = now - timedelta(seconds=seconds)
        capture = outbox.add(shot(png=picture(5_000), captured_at=at, box=BOX, frame=FRAME_SIZE))
        assert capture, "the outbox takes no capture"
        trial.commits.add(capture)
    outbox.close()


@fault("30 minutes of outage", Load(rate=5), alone=True)
def half_hour_of_outage(trial: Trial) -> None:
    parts = ("edge-broker", "cloud-broker", "processor")
    trial.start()
    trial.link.cut()
    trial.wait(60, brief=5)
    trial.until(lambda: trial.waiting() > 70, 60, otherwise="the window does not fill")
    before = {part: trial.rss_mb(part) for part in parts}
    trial.wait(29 * 60, brief=10)
    after = {part: trial.rss_mb(part) for part in parts}
    trial.link.heal()
    trial.heal()
    trial.finish(drain_s=900)
    grown = [part for part in parts if not 0 < after[part] <= 1.2 * before[part]]
    changes = [f"{part} {before[part]:.0f} to {after[part]:.0f} MB" for part in parts]
    trial.outcome.note = "; ".join(changes)
    trial.expect(not grown, f"memory grew: {trial.outcome.note}")
