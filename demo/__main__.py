"""From camera to bucket on this machine: ./just demo."""

import argparse
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from rich.console import Console

import bus.settings
from audit.compare import audit
from audit.findings import Findings
from demo import contact_sheet, folder, progress, sample
from demo.folder import CONTACT_SHEET, FOLDER, STORE_URL
from demo.source import Source, chosen
from demo.stack import BUCKET, PARTS, Stack, StackError
from detector.outbox_reader import LedgerError
from detector.settings import Settings

# Settings of the detector that the demo makes itself.
_OURS = {"edge", "source", "outbox", *bus.settings.Settings.model_fields}

console = Console()


def main() -> None:
    """Run everything, show progress, compare, say the result as the last line."""
    parser = argparse.ArgumentParser("./just demo", description=__doc__)
    parser.add_argument(
        "--source", help="a camera, URL, video file or folder of pictures of your own"
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave everything running until Ctrl-C",
    )
    options = parser.parse_args()
    os.umask(0o077)  # faces and keys are nobody else's
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with folder.alone():
            source = chosen(options.source, console)
            found = run(source, keep=options.keep)
    except KeyboardInterrupt:
        sys.exit("stopped; what the outbox holds is safe: the same command goes on with it")
    except (StackError, LedgerError, OSError) as error:
        sys.exit(str(error))
    print(found.line())
    is_proved = found.sound and found.stored == found.captured > 0
    sys.exit(0 if is_proved else 1)


def run(source: Source, *, keep: bool) -> Findings:
    """One demo in its folder; one that was interrupted on the same source is gone on with."""
    folder.prepare(source.place, console)
    settings = {**_detector_settings(), "SOURCE": source.place}
    with Stack(FOLDER, env={"detector": settings}) as stack, _stopped_in_peace():
        _start(stack)
        try:
            progress.watch(stack, console)
        except KeyboardInterrupt:
            if not source.is_live:
                raise
            console.print("the camera is off; the last captures go out", style="dim")
            _drain(stack)
        found = audit(stack.outbox, stack.s3(), BUCKET)
        visits = contact_sheet.write(CONTACT_SHEET, stack.s3(), BUCKET)
        _tell(found, visits, source)
        if not found.waiting:
            folder.finish()
        if keep:
            _keep(stack)
    return found


def _detector_settings() -> dict[str, str]:
    """The detector's settings of the user's own environment."""
    given = {}
    for name in Settings.model_fields:
        value = os.environ.get(name.upper())
        if value is not None and name not in _OURS:
            given[name.upper()] = value
    return given


def _start(stack: Stack) -> None:
    with folder.store_locked():
        for part in PARTS:
            console.print(f"starting {part}", style="dim")
            stack.start(part)
        STORE_URL.write_text(stack.s3_url)


def _drain(stack: Stack) -> None:
    """Let the detector send what is left: on a picture without a face."""
    stack.stop("detector")
    blank = stack.folder / "blank"
    blank.mkdir(exist_ok=True)
    cv2.imwrite(str(blank / "blank.png"), np.zeros((64, 64, 3), np.uint8))
    stack.set("detector", "SOURCE", str(blank))
    stack.start("detector")
    progress.watch(stack, console)


def _tell(found: Findings, visits: Counter[str], source: Source) -> None:
    console.print(found.table())
    most = max(visits.values(), default=0)
    line = f"visits: {len(visits)}, with {most} pictures at most"
    if source.is_sample:
        line += f"; {len(sample.SCENE.visits)} people walk through the clip"
    console.print(line)
    console.print(f"contact sheet: {CONTACT_SHEET}", soft_wrap=True)
    if not found.captured:
        console.print(
            "no face was captured: MIN_FACE, SCORE and DETECT_WIDTH say what counts as one"
            " (docs/settings.md)"
        )


def _keep(stack: Stack) -> None:
    keys = " ".join(f"{name}={value}" for name, value in stack.keys.items())
    console.print(
        f"everything runs on until Ctrl-C; the store: {stack.s3_url} with {keys}",
        soft_wrap=True,
    )
    try:
        signal.pause()
    except KeyboardInterrupt:
        return


@contextmanager
def _stopped_in_peace() -> Iterator[None]:
    """Once we are stopping, a further Ctrl-C changes nothing: every part is ended in its turn."""
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        STORE_URL.unlink(missing_ok=True)
        console.print("stopping", style="dim")


if __name__ == "__main__":
    main()
