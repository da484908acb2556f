"""Where one trial is performed, in a process of its own."""

import os
import re
import shutil
import signal
import time
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.outcome import Outcome
from tests.chaos.trial import Trial


def perform(name: str, seed: int, *, brief: bool, place: Path) -> Outcome:
    """Try one fault in a folder below `place`, which is kept only if something was wrong."""
    os.umask(0o077)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)  # a shell's background job would ignore the first
    begun = time.monotonic()
    folder = place / f"{re.sub('[^a-z0-9]+', '-', name)}-{seed}"
    tried = FAULTS[name]
    trial = Trial(folder, tried.load, seed=seed, brief=brief, versioned=tried.versioned)
    outcome = trial.outcome
    outcome.fault = name
    try:
        with trial:
            tried.deed(trial)
            if not outcome.captured:
                trial.finish()
    except Exception as error:
        outcome.trouble = f"{type(error).__name__}: {error}"
    outcome.seconds = time.monotonic() - begun
    if outcome.sound:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        outcome.trouble = f"{outcome.trouble or 'see its folder'}; kept in {folder}"
    return outcome


def _interrupted(*_: object) -> None:
    """Stop once; what is cleaned up then is not disturbed by a second signal."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
