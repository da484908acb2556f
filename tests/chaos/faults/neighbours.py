"""An edge that does its worst while its neighbour, whose captures are counted, goes on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from math import inf

from bus.message import Message
from demo.stack import BUCKET
from tests.chaos.catalogue import fault
from tests.chaos.trial import Load, Trial
from tests.support.captures import capture, png
from tests.support.peer import Peer

HOSTILE = "edge-2"
QUIET = Load(rate=10, sizes=(5_000, 30_000))
POISON = Message(f"face-detector/{HOSTILE}/door", b"x", "image/png", (("visit", "\ufeff"),))
FILLER = (("x" * 60_000, "y" * 60_000),) * 68
# Names and texts of 8 MiB, and 50,000 empty ones: both are more than a reader may be asked for.
HEAVY = Message(f"face-detector/{HOSTILE}/door", b"x", "image/png", FILLER)
MANY = Message(f"face-detector/{HOSTILE}/door", b"x", "image/png", (("", ""),) * 50_000)
GARBAGE = Message(f"face-detector/{HOSTILE}/door", b"x")
MEMORY_AT_MOST_MB = 256


@fault("messages that the library cannot read", QUIET, alone=True)
def unreadable(trial: Trial) -> None:
    trial.start()
    with hostile(trial, lambda peer: say_all(peer, [POISON, HEAVY, MANY]), every_s=1):
        trial.wait(60, brief=10)
    finish(trial, limit_s=2)


@fault("2,000 messages of garbage a second", QUIET, alone=True)
def garbage(trial: Trial) -> None:
    trial.start()
    with hostile(trial, lambda peer: say_all(peer, [GARBAGE] * 200), every_s=0.1):
        trial.wait(60, brief=15)
    trial.expect(trial.stack.metric("processor", "facebridge_shed_total") > 100, "nothing was shed")
    finish(trial, limit_s=3)


@fault("objects that the bucket does not give back", QUIET, alone=True)
def archived(trial: Trial) -> None:
    trial.start()
    s3 = trial.stack.s3()
    copies = []
    for seq in range(1, 33):
        one = capture(seq, edge=HOSTILE, captured_at=datetime.now(UTC), png=png(filler=b"%d" % seq))
        s3.put_object(Bucket=BUCKET, Key=one.key, Body=one.png)
        copies.append(one.to_message(seq))
    trial.gateway.denied = f"/faces/{HOSTILE}/"
    with hostile(trial, lambda peer: say_all(peer, copies), every_s=5):
        trial.wait(40, brief=15)
    refused = trial.stack.metric("processor", "facebridge_refused_total")
    trial.expect(refused > 10, "no object was refused")
    finish(trial, limit_s=2)


@fault("restarts while the link is down", Load(rate=20, sizes=(100_000, 150_000)), alone=True)
def restarts(trial: Trial) -> None:
    trial.start()
    trial.stack.start("logger")
    trial.stack.hang("logger")
    trial.link.cut()
    trial.until(lambda: trial.waiting() > 70, 60, otherwise="the window does not fill")
    sizes_mb = []
    for _ in range(trial.count(20, brief=6)):
        trial.stack.kill("detector")
        trial.stack.start("detector")
        trial.wait(2)
        sizes_mb.append(trial.rss_mb("edge-broker"))
    trial.link.heal()
    trial.stack.wake("logger")
    trial.heal()
    trial.finish(drain_s=300)
    trial.outcome.note = f"edge-broker {sizes_mb[0]:.0f} to {max(sizes_mb):.0f} MB"
    trial.expect(max(sizes_mb) < sizes_mb[0] + 5, f"it grew: {trial.outcome.note}")


def say_all(peer: Peer, messages: list[Message]) -> None:
    for message in messages:
        peer.publish(message)


@contextmanager
def hostile(trial: Trial, act: Callable[[Peer], None], every_s: float) -> Iterator[None]:
    """Another edge acts again and again."""
    over = threading.Event()
    certs = trial.stack.bundle(HOSTILE)
    with Peer(trial.stack.ports["cloud"], certs, name=HOSTILE) as peer:

        def go_on() -> None:
            while not over.wait(every_s):
                act(peer)

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def finish(trial: Trial, limit_s: float) -> None:
    """Compare, and see that hardly a receipt was late and nobody took too much memory."""
    trial.heal()
    receipts = trial.stack.histogram("detector", "facebridge_receipt_seconds")
    trial.finish()
    late = 1 - receipts[limit_s] / max(receipts[inf], 1)
    trial.outcome.note = f"{100 * late:.1f} % of {receipts[inf]} receipts after {limit_s:.0f} s"
    trial.expect(late <= 0.01, f"the neighbour waited: {trial.outcome.note}")
    for part in ("cloud-broker", "processor"):
        peak_mb = trial.outcome.peak_mb[part]
        trial.expect(peak_mb < MEMORY_AT_MOST_MB, f"{part} grew to {peak_mb:.0f} MB")
