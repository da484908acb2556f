"""The original's way on the same pictures, to be held against ours."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence

import cv2

from demo.stack import ROOT
from tests.bench.run import Published, Run, Times

# OpenCV 5 has no cascades; .venv has an OpenCV 4.
PYTHON = str(ROOT / ".venv" / "bin" / "python")
if hasattr(cv2, "CascadeClassifier"):
    PYTHON = sys.executable


def watch(runs: Sequence[Run], each: Callable[[Run], None]) -> list[Run]:
    """The original's run beside each of ours, given to `each` as soon as it is there."""
    command = [PYTHON, "-m", "tests.bench.haar", *(str(run.path) for run in runs)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    originals = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout
        for run, line in zip(runs, process.stdout, strict=False):
            original = _run(run, line)
            each(original)
            originals.append(original)
    if process.returncode:
        sys.exit("the Haar cascade did not run; its own words are above")
    return originals


def _run(ours: Run, line: str) -> Run:
    """The run that a line of the Haar program tells of; the PNGs are in a frame's time."""
    told = json.loads(line)
    run = Run(
        ours.scene,
        ours.seed,
        path=ours.path,
        truth=ours.truth,
        seconds=ours.seconds,
        ms=Times(detect=told["ms"]),
    )
    for number, *box in told["boxes"]:
        run.published.append(Published(number, whose=run.note(number, box)))
    counts = Counter(one.number for one in run.published)
    run.faces = {number: counts[number] for number in range(len(run.ms.detect))}
    return run
