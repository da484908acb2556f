"""Every fault, each real: how it is made and how it is healed. A row of the table is one of these under load."""

import json
import logging
import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from demo.stack import BUCKET
from detector.outbox import FULL, Outbox
from identity.authority import PROCESSOR, Authority
from tests.chaos.source import FACTS, png, report
from tests.chaos.trial import LOADED, Row, Trial, TrialError, run
from tests.support.peer import Peer

Fault = Callable[[Trial], None]
FAULTS: dict[str, tuple[Fault, dict[str, Any]]] = {}
ALONE: set[str] = set()  # rows that measure time, and must have the machine for themselves


def fault(name: str, alone: bool = False, **options: Any) -> Callable[[Fault], Fault]:
    """Make a function a row of the table; `options` are the trial's."""

    def take(made: Fault) -> Fault:
        FAULTS[name] = (made, options)
        if alone:
            ALONE.add(name)
        return made

    return take


def perform(name: str, seed: int, brief: bool, place: str) -> Row:
    """Try one fault, in a process of its own."""
    return run(name, *FAULTS[name], seed, brief, place)


# --- death and hanging


def _killed(part: str, trial: Trial) -> None:
    trial.start()
    for _ in range(int(trial.long(6, 3))):
        trial.moment()
        trial.kill(part)
    trial.heal()


def _hung(part: str, trial: Trial) -> None:
    trial.start()
    trial.stack.hang(part)
    trial.wait(trial.long(30, 8))
    trial.stack.wake(part)
    trial.heal()


# SeaweedFS that is killed in the middle of a put into a bucket with versions may forget that the version is there, and
# take a second one. Its plain buckets have no such moment, so wherever it is killed the bucket is plain.
PLAIN = {"versions": False}
for _part in LOADED:
    FAULTS[f"kill {_part}"] = (partial(_killed, _part), PLAIN if _part == "store" else {})
for _part in LOADED:
    FAULTS[f"hang {_part}"] = (partial(_hung, _part), {})


def _killed_together(count: int, trial: Trial) -> None:
    trial.start()
    for _ in range(int(trial.long(5, 2))):
        trial.moment()
        trial.kill(*trial.rng.sample(LOADED, count))
    trial.heal()


for _word, _count in {"two": 2, "three": 3, "all": len(LOADED)}.items():
    FAULTS[f"kill {_word} at once"] = (partial(_killed_together, _count), PLAIN)


# --- the link


@fault("link cut for 2 minutes")
def _(trial: Trial) -> None:
    trial.start()
    trial.link.cut()
    trial.wait(trial.long(120, 15))
    trial.link.heal()
    trial.heal()


@fault("link flaps every second")
def _(trial: Trial) -> None:
    trial.start()
    for _ in range(int(trial.long(30, 10))):
        trial.link.cut()
        trial.wait(0.2)
        trial.link.heal()
        trial.wait(0.8)
    trial.heal()


@fault("link is a black hole")
def _(trial: Trial) -> None:
    trial.start()
    trial.link.hole = True
    trial.wait(trial.long(60, 25))
    trial.link.heal()
    trial.heal()


@fault("link of 128 kbit/s", rate=0.5, sizes=(5_000, 30_000))
def _(trial: Trial) -> None:
    trial.link.rate = 16_000
    trial.start()
    trial.wait(trial.long(60, 15))
    trial.finish()
    trial.expect(
        trial.row.absorbed <= trial.row.captured / 10, "a slow link was choked with copies"
    )


@fault("link of 300 ms each way")
def _(trial: Trial) -> None:
    trial.link.delay = 0.3
    trial.start()
    trial.wait(trial.long(30, 8))
    trial.heal()


@fault("link cut in the middle of a packet")
def _(trial: Trial) -> None:
    trial.start()
    for _ in range(int(trial.long(20, 6))):
        trial.until(trial.link.tear(trial.rng.randint(1, 100_000)).is_set, 20, "no packet to cut")
        trial.wait(0.2)
        trial.link.heal()
        trial.moment(0.5, 2)
    trial.heal()


# --- state that is lost


@fault("cloud broker replaced by an empty one")
def _(trial: Trial) -> None:
    trial.start()
    for _ in range(int(trial.long(3, 2))):
        trial.stack.hang("processor")  # so that the broker has something to lose
        trial.wait(2)
        _replaced(trial, "cloud-broker")
        trial.stack.wake("processor")
        trial.wait(3)
    trial.heal()


@fault("edge broker replaced by an empty one")
def _(trial: Trial) -> None:
    trial.start()
    for _ in range(int(trial.long(3, 2))):
        trial.link.cut()
        trial.wait(2)
        _replaced(trial, "edge-broker")
        trial.link.heal()
        trial.wait(3)
    trial.heal()


def _replaced(trial: Trial, part: str) -> None:
    trial.stack.stop(part)
    shutil.rmtree(trial.stack.folder / part)
    trial.stack.start(part)


@fault("processor's session deleted")
def _(trial: Trial) -> None:
    trial.start()
    certs = trial.stack.bundle(PROCESSOR)
    for _ in range(int(trial.long(4, 2))):
        trial.gateway.mode = "timeout"
        trial.wait(2)
        with Peer(trial.stack.ports["cloud-processors"], certs, "processor"):
            pass  # whoever has its name has its session, and this one leaves none
        trial.gateway.mode = ""
        trial.wait(3)
    trial.heal()


@fault("processor away from the beginning")
def _(trial: Trial) -> None:
    trial.start(without=("processor",))
    trial.wait(trial.long(30, 8))
    trial.stack.start("processor")
    trial.heal()


# --- the store


def _spoilt(mode: str, seconds: float, trial: Trial) -> None:
    trial.start()
    trial.gateway.mode = mode
    trial.wait(trial.long(seconds, seconds if mode == "timeout" else min(seconds, 8)))
    trial.gateway.mode = ""
    trial.heal()
    trial.expect(trial.gateway.spoilt > 0, "no request met the fault")


FAULTS |= {
    "store says 503": (partial(_spoilt, "503", 20), {}),
    "store says 500": (partial(_spoilt, "500", 20), {}),
    "store says 403": (partial(_spoilt, "403", 20), {}),
    "bucket missing for a while": (partial(_spoilt, "404", 20), {}),
    "store does not answer": (partial(_spoilt, "timeout", 40), {}),
    "store takes it after we have given up": (partial(_spoilt, "late", 8), {}),
    "store stores, then resets the connection": (partial(_spoilt, "reset", 15), {}),
    "store says 200 with a broken body": (partial(_spoilt, "hollow", 15), {}),
    "store takes 1 KB/s": (partial(_spoilt, "slow", 30), {}),
}


@fault("bucket made only later")
def _(trial: Trial) -> None:
    trial.stack.set("processor", "CREATE_BUCKET", "0")
    for part in ("store", "cloud-broker", "edge-broker"):
        trial.stack.start(part)
    trial.stack.launch("processor")  # it is not ready, and says so
    trial.stack.start("detector")
    trial.wait(trial.long(20, 6))
    trial.bucket()
    trial.heal()


@fault("store's disk full", rate=10)
def _(trial: Trial) -> None:
    data = trial.stack.folder / "store" / "data"
    with _mounted(data, "-t", "tmpfs", "-o", "size=64m", "tmpfs"):
        trial.start()
        _fill(data / "ballast", data)
        before = trial.waiting()
        trial.until(lambda: trial.waiting() > before + 30, 60, "the full disk stopped nothing")
        (data / "ballast").unlink()
        trial.heal()
        trial.finish()
        trial.stack.stop("store")


# --- the edge's disk and power


@fault("power cut on the edge")
def _(trial: Trial) -> None:
    place, images = (
        trial.folder / "disk",
        [trial.folder / "disk-0.img", trial.folder / "disk-1.img"],
    )
    _format(images[0], 256)
    trial.stack.outbox = place / "outbox.db"
    trial.stack.set("detector", "OUTBOX", str(trial.stack.outbox))
    with _mounted(place, "-o", "loop", str(images[0])):
        trial.start()
        for cut in range(int(trial.long(20, 4))):
            if trial.rng.random() < 0.7:
                trial.link.cut()  # what waits is what could be lost
            trial.moment(0.5, 2)
            trial.stack.kill("detector")
            old, new = images[cut % 2], images[(cut + 1) % 2]
            shutil.copyfile(
                old, new
            )  # what the disk has at this instant; the rest was only in memory
            _run("umount", "--lazy", str(place))
            _mount(place, "-o", "loop", str(new))
            trial.stack.start("detector")
            trial.link.heal()
        trial.heal()
        trial.finish()
        trial.stack.stop("detector")


@fault("edge's disk full")
def _(trial: Trial) -> None:
    image, place = trial.folder / "disk.img", trial.folder / "disk"
    _format(image, 64)
    trial.stack.outbox = place / "outbox.db"
    trial.stack.set("detector", "OUTBOX", str(trial.stack.outbox))
    with _mounted(place, "-o", "loop", str(image)):
        trial.start()
        trial.link.cut()
        refused = trial.until(
            lambda: trial.said("detector", "dropped"), 90, "the full disk refused nothing"
        )
        trial.wait(2)
        _fill(place / "ballast", place, leave=1)  # even the reserve is taken
        trial.wait(2)
        trial.link.heal()
        trial.wait(3)
        (place / "ballast").unlink()
        trial.wait(2)
        trial.heal()
        trial.until(
            lambda: trial.waiting() < 40, 60, "the outbox does not drain"
        )  # from here on nothing is refused
        newest = trial.last_seq()
        trial.until(
            lambda: trial.last_seq() > newest + 20, 60, "a disk that was full takes nothing more"
        )
        counted = trial.stack.metric("detector", "facebridge_dropped_total")
        trial.finish()
        said = trial.said("detector", "dropped")
        trial.expect(said == counted >= refused, f"{said} said, {counted:.0f} counted")
        trial.row.note = f"{said} refused = counted"
        trial.stack.stop("detector")


def _over_budget(policy: str, trial: Trial) -> None:
    trial.stack.set("detector", "OUTBOX_MAX_BYTES", "5000000")
    trial.stack.set("detector", "OUTBOX_FULL", policy)
    trial.excused = FULL
    trial.start()
    trial.link.cut()
    trial.until(lambda: trial.said("detector", "dropped") > 50, 60, "nothing was dropped")
    trial.link.heal()
    trial.heal()
    trial.until(
        lambda: trial.waiting() < 40, 60, "the outbox does not drain"
    )  # from here on nothing is dropped
    trial.wait(1)
    counted = trial.stack.metric("detector", "facebridge_dropped_total")
    trial.finish()
    said, gaps = (
        trial.said("detector", "dropped"),
        trial.one("SELECT sum(last - first + 1) FROM gaps"),
    )
    trial.expect(
        said == gaps == counted, f"{said} said, {gaps} in the ledger, {counted:.0f} counted"
    )
    trial.row.note = f"{gaps} dropped by choice = counted = explained"


@fault("outbox fills, visits get one shot", sizes=(100_000, 150_000))
def _(trial: Trial) -> None:
    for name, value in {
        "MODE": "best",
        "OUTBOX_MAX_BYTES": "5000000",
        "OUTBOX_STRICT": "0.12",
    }.items():
        trial.stack.set("detector", name, value)
    trial.start()
    trial.wait(6)
    trial.link.cut()
    trial.until(
        lambda: trial.said("detector", "outbox fills"), 60, "a filling outbox is not noticed"
    )
    since = trial.last_seq()
    trial.wait(trial.long(40, 16))
    until = trial.last_seq()
    trial.link.heal()
    trial.heal()
    trial.until(
        lambda: trial.said("detector", "outbox has room"),
        60,
        "that there is room again is not noticed",
    )
    trial.wait(9)
    trial.finish()
    with closing(trial.outbox()) as db:
        shots = {
            seq: json.loads(facts) for seq, facts in db.execute("SELECT seq, facts FROM captures")
        }
    strict = [
        facts for seq, facts in shots.items() if since + 1 < seq <= until
    ]  # the first visit had begun before
    trial.expect(len(strict) > 1, "nothing was captured in the outage")
    trial.expect(
        all("final" in facts and facts["shot"] == "1" for facts in strict),
        "more than one shot of a visit",
    )
    trial.expect(
        any(facts["shot"] == "2" for seq, facts in shots.items() if seq > until),
        "it stays at one shot",
    )
    trial.row.note = f"{len(strict)} visits, {len(strict)} shots while the link was cut"


FAULTS["outbox full, drop-oldest"] = (partial(_over_budget, "drop-oldest"), {})
FAULTS["outbox full, drop-newest"] = (partial(_over_budget, "drop-newest"), {})


# --- time and identity


# Mosquitto counts by CLOCK_BOOTTIME, which never jumps; but libfaketime would make that jump too.
@fault("clocks of detector and processor jump an hour")
def _(trial: Trial) -> None:
    libraries = [
        *Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"),
        *Path("/usr/lib/faketime").glob("*MT.so.1"),
    ]
    if not libraries:
        raise TrialError("needs libfaketime: apt-get install libfaketime")
    clocks = {part: trial.folder / f"clock-{part}" for part in ("detector", "processor")}
    for part, clock in clocks.items():
        clock.write_text("+0")
        fake = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
        }
        for setting, value in {**fake, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}.items():
            trial.stack.set(part, setting, value)
    trial.start()
    for jump in ("+3600", "+0", "-3600", "+0"):
        for clock in clocks.values():
            clock.write_text(jump)
            trial.moment(0, 1)  # not at once: clocks differ
        trial.wait(trial.long(8, 3))
    trial.heal()


@fault("certificate expired, then a new one")
def _(trial: Trial) -> None:
    _other_bundle(
        trial, lambda authority: authority.issue("edge-1", force=True, valid=timedelta(seconds=-60))
    )


@fault("certificate of another edge")
def _(trial: Trial) -> None:
    own = trial.stack.folder / "pki" / "edge-1"
    _other_bundle(
        trial, lambda authority: shutil.copytree(authority.issue("edge-2"), own, dirs_exist_ok=True)
    )
    keys = trial.stack.s3().list_objects_v2(Bucket=BUCKET, Prefix="faces/edge-2/")
    trial.expect(keys["KeyCount"] == 0, "something was stored under the other edge's name")


def _other_bundle(trial: Trial, other: Callable[[Authority], object]) -> None:
    trial.start()
    trial.stack.stop("edge-broker")
    authority = Authority(trial.stack.folder / "pki")
    other(authority)
    trial.stack.start("edge-broker")
    trial.wait(1)
    before = trial.waiting()
    trial.wait(trial.long(15, 5))
    trial.expect(trial.waiting() > before + 40, "captures got through with the wrong certificate")
    trial.stack.stop("edge-broker")
    authority.issue("edge-1", force=True)
    trial.stack.start("edge-broker")
    trial.heal()


# --- load


@fault("garbage floods another edge's topics", alone=True)
def _(trial: Trial) -> None:
    trial.start()
    trial.wait(5)
    quiet = _receipt_time(trial, trial.long(20, 8))
    certs, over = trial.stack.bundle("edge-2"), threading.Event()
    attacker = paho.Client(CallbackAPIVersion.VERSION2, "edge-2", protocol=paho.MQTTv5)
    attacker.tls_set(str(certs / "ca.crt"), str(certs / "tls.crt"), str(certs / "tls.key"))
    attacker.connect("localhost", trial.stack.ports["cloud"])
    attacker.loop_start()

    def flood() -> None:
        while not over.wait(0.01):
            attacker.publish("face-detector/edge-2/door", random.randbytes(20_000), 1)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        flooded = _receipt_time(trial, trial.long(30, 10))
    finally:
        over.set()
        thread.join()
        attacker.disconnect()
        attacker.loop_stop()
    trial.heal()
    trial.finish()
    trial.expect(trial.said("processor", "quarantined") > 100, "no garbage arrived")
    trial.row.note = (
        f"receipt after {quiet * 1000:.0f} ms; in the flood after {flooded * 1000:.0f} ms"
    )
    trial.expect(
        flooded <= 2 * max(quiet, 0.02), f"latency was more than doubled: {trial.row.note}"
    )


def _receipt_time(trial: Trial, seconds: float) -> float:
    """The mean time from sending to receipt, over so many seconds from now."""

    def read() -> tuple[float, float]:
        names = ("facebridge_receipt_seconds_sum", "facebridge_receipt_seconds_count")
        return trial.stack.metric("detector", names[0]), trial.stack.metric("detector", names[1])

    before = read()
    trial.wait(seconds)
    after = read()
    trial.expect(after[1] > before[1], "no receipt came home")
    return (after[0] - before[0]) / (after[1] - before[1])


class _Hasty(Outbox):
    """An outbox that does not wait for the disk: to fill it is not what is tried, and would take long."""

    def _transaction(self, sync: Any = "FULL") -> Any:
        return super()._transaction("NORMAL")


@fault("24 hours of outage, 100,000 waiting", alone=True, rate=5, sizes=(5_000, 10_000))
def _(trial: Trial) -> None:
    count = int(trial.long(100_000, 3_000))
    logging.getLogger("detector.outbox").setLevel(logging.ERROR)
    trial.stack.outbox.parent.mkdir(parents=True)
    outbox = _Hasty(trial.stack.outbox, "edge-1", "camera", 10**10)
    for number in range(count):
        capture = outbox.add(png(5_000), captured_at=_ago(count - number), visit="v", **FACTS)
        assert capture
        report(trial.commits, capture)
    outbox.close()
    for part in ("store", "cloud-broker", "edge-broker"):
        trial.stack.start(part)
    trial.bucket()
    begun = time.monotonic()
    trial.stack.set("detector", "OUTBOX_MAX_BYTES", str(10**10))
    trial.stack.start("detector")
    ready, first = time.monotonic() - begun, trial.rss("detector")
    trial.stack.start("processor")
    trial.heal()
    begun = time.monotonic()
    trial.finish(drain=1500)
    rate, last = count / trial.row.recovery, trial.row.peak["detector"]
    trial.row.note = (
        f"ready after {ready:.1f} s, {rate:.0f}/s out, detector {first:.0f} to {last:.0f} MB"
    )
    trial.expect(
        ready < 5 and last < first + 40,
        f"start-up or memory grow with the outbox: {trial.row.note}",
    )


@fault("30 minutes of outage", alone=True, rate=5)
def _(trial: Trial) -> None:
    trial.start()
    trial.link.cut()
    trial.wait(trial.long(60, 5))
    trial.until(lambda: trial.waiting() > 70, 60, "the window does not fill")
    parts = ("edge-broker", "cloud-broker", "processor")
    before = {part: trial.rss(part) for part in parts}
    trial.wait(trial.long(29 * 60, 10))
    after = {part: trial.rss(part) for part in parts}
    trial.link.heal()
    trial.heal()
    trial.finish(drain=900)
    trial.row.note = "; ".join(
        f"{part} {before[part]:.0f} to {after[part]:.0f} MB" for part in parts
    )
    grown = [part for part in parts if not 0 < after[part] <= 1.2 * before[part]]
    trial.expect(not grown, f"memory grew: {trial.row.note}")


def _ago(seconds: int) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


# --- disks


def _run(*command: str) -> None:
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise TrialError(f"{' '.join(command)}: {ran.stderr.strip() or ran.returncode}")


def _format(image: Path, megabytes: int) -> None:
    image.touch()
    os.truncate(image, megabytes * 1024 * 1024)
    _run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))


def _mount(place: Path, *what: str) -> None:
    if os.geteuid():
        raise TrialError("needs root, for a disk of its own")
    place.mkdir(parents=True, exist_ok=True)
    _run("mount", *what, str(place))


@contextmanager
def _mounted(place: Path, *what: str) -> Iterator[None]:
    _mount(place, *what)
    try:
        yield
    finally:
        _run("umount", "--lazy", str(place))


def _fill(ballast: Path, place: Path, leave: int = 0) -> None:
    """Take what is free on a disk but for `leave` MB."""
    with suppress(OSError), ballast.open("wb", buffering=0) as out:
        while shutil.disk_usage(place).free > leave * 1024 * 1024:
            out.write(bytes(65536))
