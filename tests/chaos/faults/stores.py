"""The store, and what it says."""

from collections.abc import Callable

from tests.chaos.catalogue import fault
from tests.chaos.disks import fill, mounted
from tests.chaos.trial import Load, Trial
from tests.support.gateway import Mode


def spoil(mode: Mode, *, seconds: float, brief: float) -> Callable[[Trial], None]:
    """Spoil what the store is asked, or what it answers, for so long."""

    def spoilt(trial: Trial) -> None:
        trial.start()
        trial.gateway.mode = mode
        trial.wait(seconds, brief)
        trial.gateway.mode = "well"
        trial.heal()
        trial.expect(trial.gateway.spoilt > 0, "no request met the fault")

    return spoilt


fault("store says 503")(spoil("503", seconds=20, brief=8))
fault("store says 500")(spoil("500", seconds=20, brief=8))
fault("store says 403")(spoil("403", seconds=20, brief=8))
fault("bucket missing for a while")(spoil("404", seconds=20, brief=8))
fault("store does not answer")(spoil("timeout", seconds=40, brief=40))
fault("store takes it after we have given up")(spoil("late", seconds=8, brief=8))
fault("store stores, then resets the connection")(spoil("reset", seconds=15, brief=8))
fault("store says 200 with a broken body")(spoil("hollow", seconds=15, brief=8))
fault("store takes 1 KB/s")(spoil("slow", seconds=30, brief=8))


@fault("bucket made only later")
def late_bucket(trial: Trial) -> None:
    trial.set("processor", CREATE_BUCKET="0")
    for part in ("store", "cloud-broker", "edge-broker"):
        trial.stack.start(part)
    trial.stack.launch("processor")  # it is not ready, and says so
    trial.stack.start("detector")
    trial.wait(20, brief=6)
    trial.make_bucket()
    trial.heal()


@fault("store's disk full", Load(rate=10))
def full_disk(trial: Trial) -> None:
    data = trial.stack.folder / "store" / "data"
    with mounted(data, "-t", "tmpfs", "-o", "size=64m", "tmpfs"):
        trial.start()
        fill(data)
        enough = trial.waiting() + 30
        trial.until(lambda: trial.waiting() > enough, 60, otherwise="the full disk stopped nothing")
        (data / "ballast").unlink()
        trial.heal()
        trial.finish()
        trial.stack.stop("store")
