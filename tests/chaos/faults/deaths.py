"""Parts that die or hang."""

from functools import partial

from tests.chaos.catalogue import fault
from tests.chaos.trial import LOADED, Trial


def kill_again_and_again(part: str, trial: Trial) -> None:
    trial.start()
    for _ in range(trial.count(6, brief=3)):
        trial.moment()
        trial.kill(part)
    trial.heal()


def hang(part: str, trial: Trial) -> None:
    trial.start()
    trial.stack.hang(part)
    trial.wait(30, brief=8)
    trial.stack.wake(part)
    trial.heal()


def kill_together(how_many: int, trial: Trial) -> None:
    trial.start()
    for _ in range(trial.count(5, brief=2)):
        trial.moment()
        trial.kill(*trial.rng.sample(LOADED, how_many))
    trial.heal()


# SeaweedFS that is killed in the middle of a put into a bucket with versions may forget that the
# version is there, and take a second one. Its plain buckets have no such moment, so wherever it is
# killed the bucket is plain.
for _part in LOADED:
    fault(f"kill {_part}", versioned=_part != "store")(partial(kill_again_and_again, _part))
for _part in LOADED:
    fault(f"hang {_part}")(partial(hang, _part))
for _word, _count in {"two": 2, "three": 3, "all": len(LOADED)}.items():
    fault(f"kill {_word} at once", versioned=False)(partial(kill_together, _count))
