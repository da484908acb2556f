"""The edge's disk and power."""

import shutil
from pathlib import Path

from detector.outbox_schema import SPOILT
from tests.chaos import disks
from tests.chaos.catalogue import fault
from tests.chaos.trial import Trial

SECTOR = 512  # bytes


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


@fault("a sector of the outbox is lost")
def lost_sector(trial: Trial) -> None:
    trial.excused = SPOILT
    trial.start()
    for _ in range(trial.count(12, brief=4)):
        trial.link.cut()
        trial.moment(1, 3)
        trial.stack.kill("detector")
        sizes = {file: file.stat().st_size for file in outbox_files(trial.stack.outbox)}
        (file,) = trial.rng.choices([*sizes], weights=[*sizes.values()])
        with file.open("r+b") as disk:
            disk.seek(trial.rng.randrange(sizes[file] // SECTOR) * SECTOR)
            disk.write(bytes(SECTOR))
        trial.stack.start("detector")
        trial.link.heal()
        trial.wait(2)
    trial.heal()
    trial.finish()
    dropped = trial.outcome.dropped
    trial.outcome.note = f"{trial.said('detector', 'outbox salvaged')} salvaged, {dropped} spoilt"
    trial.expect(dropped < 10 * trial.count(12, brief=4), f"too much was lost: {dropped}")


def outbox_files(outbox: Path) -> list[Path]:
    """The database and its journal, with something in them."""
    files = [outbox, Path(f"{outbox}-wal")]
    return [file for file in files if file.exists() and file.stat().st_size >= SECTOR]


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
