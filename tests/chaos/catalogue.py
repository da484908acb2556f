"""The catalogue of faults: each enters itself by its name."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.trial import Load, Trial

Deed = Callable[[Trial], None]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """How it is made and healed, under which load, into which kind of bucket.

    One that is `alone` measures time, and must have the machine for itself.
    """

    deed: Deed
    load: Load
    versioned: bool
    alone: bool


FAULTS: dict[str, Fault] = {}


def fault(
    name: str,
    load: Load = Load(),  # noqa: B008 - it is frozen
    *,
    versioned: bool = True,
    alone: bool = False,
) -> Callable[[Deed], Deed]:
    """Make what a function does to a trial a row of the table."""

    def enter(deed: Deed) -> Deed:
        FAULTS[name] = Fault(deed=deed, load=load, versioned=versioned, alone=alone)
        return deed

    return enter
