"""Clocks and certificates that are wrong."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from demo.stack import BUCKET
from identity.authority import Authority
from tests.chaos.catalogue import fault
from tests.chaos.trial import Trial, TrialError
from tests.support import store
from tests.support.captures import capture
from tests.support.peer import Peer

SILENT_WITHIN_S = 2.0


# Mosquitto counts by CLOCK_BOOTTIME, which never jumps; but libfaketime would make that jump too.
@fault("clocks of detector and processor jump an hour")
def jumping_clocks(trial: Trial) -> None:
    clocks = [fake_clock(trial, part) for part in ("detector", "processor")]
    trial.start()
    for jump in ("+3600", "+0", "-3600", "+0"):
        for clock in clocks:
            clock.write_text(jump)
            trial.moment(0, 1)  # not at once: clocks differ
        trial.wait(8, brief=3)
    trial.heal()


def fake_clock(trial: Trial, part: str) -> Path:
    """The file that says by how many seconds the clock of a part is wrong."""
    clock = trial.folder / f"clock-{part}"
    clock.write_text("+0")
    trial.set(
        part,
        LD_PRELOAD=str(faketime()),
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    return clock


def faketime() -> Path:
    places = ("*/faketime/libfaketimeMT.so.1", "faketime/*MT.so.1")
    for place in places:
        for library in Path("/usr/lib").glob(place):
            return library
    raise TrialError("needs libfaketime: apt-get install libfaketime")


@fault("certificate expired, then a new one")
def expired_certificate(trial: Trial) -> None:
    past = timedelta(seconds=-60)
    wrong_bundle(trial, lambda authority: authority.issue("edge-1", force=True, valid=past))


@fault("certificate of another edge")
def anothers_certificate(trial: Trial) -> None:
    own = trial.stack.folder / "pki" / "edge-1"

    def swap(authority: Authority) -> None:
        shutil.copytree(authority.issue("edge-2"), own, dirs_exist_ok=True)

    wrong_bundle(trial, swap)
    forged = store.keys(trial.stack.s3(), BUCKET, below="faces/edge-2/")
    trial.expect(not forged, "something was stored under the other edge's name")


@fault("certificate revoked while its edge publishes")
def revoked_certificate(trial: Trial) -> None:
    trial.start()
    neighbour = Peer(
        trial.stack.ports["cloud"], trial.stack.bundle("edge-2"), topics=("stored/edge-2/#",)
    )
    with neighbour:
        trial.stack.revoke("edge-1")
        trial.wait(SILENT_WITHIN_S)
        before = trial.stack.metric("processor", "facebridge_stored_total")
        trial.wait(15, brief=5)
        after = trial.stack.metric("processor", "facebridge_stored_total")
        trial.expect(before == after, f"{after - before:.0f} were stored of who is shut out")
        own = capture(1, edge="edge-2", captured_at=datetime.now(UTC))
        neighbour.say(own.to_message(1))
        trial.until(lambda: neighbour.got, 5, otherwise="a neighbour got no receipt")
        trial.expect(not neighbour.ends, "a neighbour was disconnected")
    trial.stack.stop("edge-broker")
    trial.stack.reenrol("edge-1")
    trial.stack.start("edge-broker")
    trial.heal()


def wrong_bundle(trial: Trial, spoil: Callable[[Authority], object]) -> None:
    """Let the edge broker run with a certificate that `spoil` has made, then with a sound one."""
    trial.start()
    trial.stack.stop("edge-broker")
    authority = Authority(trial.stack.folder / "pki")
    spoil(authority)
    trial.stack.start("edge-broker")
    trial.wait(1)
    before = trial.waiting()
    trial.wait(15, brief=5)
    piled_up = trial.waiting() > before + 40
    trial.expect(piled_up, "captures got through with the wrong certificate")
    trial.stack.stop("edge-broker")
    authority.issue("edge-1", force=True)
    trial.stack.start("edge-broker")
    trial.heal()
