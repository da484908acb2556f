"""Outboxes that fill."""

from functools import partial
from typing import Any

from demo.stack import BUCKET
from detector.outbox_schema import FULL
from tests.chaos.catalogue import fault
from tests.chaos.trial import Load, Trial
from tests.support import store


@fault("outbox fills, visits get one shot", Load(sizes=(100_000, 150_000)))
def one_shot(trial: Trial) -> None:
    trial.set("detector", MODE="best", OUTBOX_MAX_BYTES="5000000", OUTBOX_STRICT="0.12")
    trial.start()
    trial.wait(6)
    trial.link.cut()
    said_full = partial(trial.said, "detector", "outbox fills")
    trial.until(said_full, 60, otherwise="a filling outbox is not noticed")
    first = trial.last_seq() + 2  # the first visit had begun before
    trial.wait(40, brief=16)
    last = trial.last_seq()
    trial.link.heal()
    trial.heal()
    said_room = partial(trial.said, "detector", "outbox has room")
    trial.until(said_room, 60, otherwise="that there is room again is not noticed")
    trial.wait(9)
    trial.finish()
    facts = stored_facts(trial.stack.s3())
    strict = [facts[seq] for seq in facts if first <= seq <= last]
    only = [shot for shot in strict if "final" in shot and shot["shot"] == "1"]
    later = [facts[seq]["shot"] for seq in facts if seq > last]
    trial.expect(len(strict) > 1, "nothing was captured in the outage")
    trial.expect(only == strict, "more than one shot of a visit")
    trial.expect("2" in later, "it stays at one shot")
    trial.outcome.note = f"{len(strict)} visits, {len(strict)} shots while the link was cut"


def stored_facts(s3: Any) -> dict[int, dict[str, str]]:
    """The facts of every capture in the bucket, by its seq."""
    keys = store.keys(s3, BUCKET, below="faces/")
    found = [s3.head_object(Bucket=BUCKET, Key=key)["Metadata"] for key in keys]
    return {int(facts["seq"]): facts for facts in found}


def over_budget(policy: str, trial: Trial) -> None:
    trial.set("detector", OUTBOX_MAX_BYTES="5000000", OUTBOX_FULL=policy)
    trial.excused = FULL
    trial.start()
    trial.link.cut()
    many_dropped = partial(dropped_more_than, 50, trial)
    trial.until(many_dropped, 60, otherwise="nothing was dropped")
    trial.link.heal()
    trial.heal()
    # From here on nothing is dropped.
    trial.until(lambda: trial.waiting() < 40, 60, otherwise="the outbox does not drain")
    trial.wait(1)
    counted = trial.stack.metric("detector", "facebridge_dropped_total")
    trial.finish()
    said = trial.said("detector", "dropped")
    gaps = sum(gap.length for gap in trial.ledger().gaps)
    three = f"{said} said, {gaps} in the ledger, {counted:.0f} counted"
    trial.expect(said == gaps == counted, three)
    trial.outcome.note = f"{gaps} dropped by choice = counted = explained"


def dropped_more_than(count: int, trial: Trial) -> bool:
    return trial.said("detector", "dropped") > count


fault("outbox full, drop-oldest")(partial(over_budget, "drop-oldest"))
fault("outbox full, drop-newest")(partial(over_budget, "drop-newest"))
