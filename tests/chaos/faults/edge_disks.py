"""The edge's disk and power."""

import shutil
from pathlib import Path

from tests.chaos import disks
from tests.chaos.catalogue import fault
from tests.chaos.trial import Trial


def outbox_on(trial: Trial, place: Path) -> None:
    """Let the outbox be on a disk that is mounted at `place`."""
    trial.stack.outbox = place / "outbox.db"
    trial.set("detector", OUTBOX=str(trial.stack.outbox))


@fault("power cut on the edge")
def power_cut(trial: Trial) -> None:
    place = trial.folder / "disk"
    old = trial.folder / "disk-0.img"
    new = trial.folder / "disk-1.img"
    disks.make(old, megabytes=256)
    outbox_on(trial, place)
    with disks.mounted(place, "-o", "loop", str(old)):
        trial.start()
        for _ in range(trial.count(20, brief=4)):
            if trial.rng.random() < 0.7:
                trial.link.cut()  # what waits is what could be lost
            trial.moment(0.5, 2)
            trial.stack.kill("detector")
            # What the disk has at this instant; the rest was only in memory.
            shutil.copyfile(old, new)
            disks.unmount(place)
            disks.mount(place, "-o", "loop", str(new))
            old, new = new, old
            trial.stack.start("detector")
            trial.link.heal()
        trial.heal()
        trial.finish()
        trial.stack.stop("detector")


@fault("edge's disk full")
def full_disk(trial: Trial) -> None:
    image = trial.folder / "disk.img"
    place = trial.folder / "disk"
    disks.make(image, megabytes=64)
    outbox_on(trial, place)
    with disks.mounted(place, "-o", "loop", str(image)):
        trial.start()
        trial.link.cut()
        trial.until(lambda: refused(trial), 90, otherwise="the full disk refused nothing")
        before = refused(trial)
        trial.wait(2)
        disks.fill(place, leave_mb=1)  # even the reserve is taken
        trial.wait(2)
        trial.link.heal()
        trial.wait(3)
        (place / "ballast").unlink()
        trial.wait(2)
        trial.heal()
        # From here on nothing is refused.
        trial.until(lambda: trial.waiting() < 40, 60, otherwise="the outbox does not drain")
        more = trial.last_seq() + 20
        stuck = "a disk that was full takes nothing more"
        trial.until(lambda: trial.last_seq() > more, 60, otherwise=stuck)
        counted = trial.stack.metric("detector", "facebridge_dropped_total")
        trial.finish()
        said = refused(trial)
        trial.expect(said == counted >= before, f"{said} said, {counted:.0f} counted")
        trial.outcome.note = f"{said} refused = counted"
        trial.stack.stop("detector")


def refused(trial: Trial) -> int:
    return trial.said("detector", "dropped")
