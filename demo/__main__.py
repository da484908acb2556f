"""From camera to bucket on this machine: ./just demo."""

import argparse
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

import bus.settings
from audit.compare import audit
from audit.findings import Findings
from demo import contact_sheet, sample
from demo.stack import BUCKET, PARTS, ROOT, Stack, StackError
from detector.outbox_reader import Ledger, LedgerError
from detector.settings import Settings

FOLDER = ROOT / ".run" / "demo"
_OURS = {
    "edge",
    "source",
    "outbox",
    *bus.settings.Settings.model_fields,
}  # settings that the demo makes itself

console = Console()


def main() -> None:
    """Run everything, show progress, compare, say the result as the last line."""
    parser = argparse.ArgumentParser("./just demo", description=__doc__)
    parser.add_argument(
        "--source", help="a camera, URL, video file or folder of pictures of your own"
    )
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    chosen = parser.parse_args()
    os.umask(0o077)  # faces and keys are nobody else's
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with _alone():
            found = run(chosen.source, chosen.keep)
    except KeyboardInterrupt:
        sys.exit("stopped; what the outbox holds is safe: the same command goes on with it")
    except (StackError, LedgerError, OSError) as error:
        sys.exit(str(error))
    print(found.line())
    sys.exit(not (found.sound and found.stored == found.captured > 0))


def run(source: str | None, keep: bool) -> Findings:
    """One demo in its folder; one that was interrupted on the same source is gone on with."""
    live = bool(source) and ("://" in str(source) or str(source).startswith("/dev/"))
    if not source:
        clip = sample.clip(ROOT / ".run" / "sample")
        if not clip.video.exists():
            console.print("making the sample clip, once", style="dim")
        place = str(sample.make(clip.video.parent).video)
    else:
        place = (
            source
            if live
            else str(Path(os.environ.get("INVOKED_FROM", ".")).joinpath(source).resolve())
        )
    if not live and not Path(place).exists():
        raise StackError(
            f"--source: {place} is not there: give a device, a URL, a video file or a folder of pictures"
        )
    unfinished = _prepare(place)
    env = {
        name.upper(): os.environ[name.upper()]
        for name in Settings.model_fields
        if name.upper() in os.environ
    }
    env = {name: value for name, value in env.items() if name.lower() not in _OURS}
    with Stack(FOLDER, env={"detector": {**env, "SOURCE": place}}) as stack, _stopped_in_peace():
        with (FOLDER / "store.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # an audit may have the store running
            for part in PARTS:
                console.print(f"starting {part}", style="dim")
                stack.start(part)
            (FOLDER / "store.url").write_text(stack.s3_url)
        try:
            _watch(stack)
        except KeyboardInterrupt:
            if not live:
                raise
            console.print("the camera is off; the last captures go out", style="dim")
            _drain(stack)
        found = audit(stack.outbox, stack.s3(), BUCKET)
        visits = contact_sheet.write(FOLDER / "sheet.html", stack.s3(), BUCKET)
        console.print(found.table())
        walked = "" if source else f"; {len(sample.SCENE.visits)} people walk through the clip"
        console.print(
            f"visits: {len(visits)}, with {max(visits.values(), default=0)} pictures at most{walked}"
        )
        console.print(f"contact sheet: {FOLDER / 'sheet.html'}", soft_wrap=True)
        if not found.waiting:
            unfinished.unlink()
        if not found.captured:
            console.print(
                "no face was captured: MIN_FACE, SCORE and DETECT_WIDTH say what counts as one (README)"
            )
        if keep:
            _keep(stack)
    return found


def _prepare(place: str) -> Path:
    """Make room for a demo on `place`, and mark it as unfinished; nothing that still waits is thrown away."""
    unfinished, mark = (
        FOLDER / "unfinished",
        sha256(place.encode()).hexdigest(),
    )  # a URL may hold a password
    if unfinished.exists() and unfinished.read_text() == mark:
        console.print("going on where the last demo on this source was stopped", style="dim")
    elif unfinished.exists() and (FOLDER / "detector" / "outbox.db").exists():
        aside = FOLDER.with_name(f"demo-{time.strftime('%Y%m%d-%H%M%S')}")
        waiting = Ledger.read(FOLDER / "detector" / "outbox.db").waiting
        FOLDER.rename(aside)
        console.print(
            f"an unfinished demo on another source, {waiting} waiting, is kept in {aside}",
            soft_wrap=True,
        )
    else:
        shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    unfinished.write_text(mark)
    return unfinished


def _watch(stack: Stack) -> None:
    """Show where the captures are until the detector has ended its source and every receipt is home."""
    said = 0.0
    with Live(console=console, refresh_per_second=4, transient=not console.is_terminal) as live:
        while True:
            over = stack.ended("detector")
            link = (
                "up"
                if stack.metric("detector", "facebridge_link_up") or over is not None
                else "down"
            )
            ledger = Ledger.read(stack.outbox)
            live.update(_progress(ledger, link))
            if not console.is_terminal and time.monotonic() - said > 5:
                said = time.monotonic()
                print(
                    f"captured {ledger.captured}, on the way {ledger.waiting}, stored {ledger.stored}, link {link}"
                )
            for part in PARTS:
                if stack.ended(part) not in (None, 0) or (
                    part != "detector" and stack.ended(part) == 0
                ):
                    raise StackError(stack.obituary(part))
            if over == 0:
                return
            time.sleep(0.25)


def _progress(ledger: Ledger, link: str) -> Table:
    table = Table("captured", "on the way", "stored", "quarantined", "link")
    counts = (ledger.captured, ledger.waiting, ledger.stored, ledger.given_up("quarantined"))
    table.add_row(*map(str, counts), link)
    return table


def _drain(stack: Stack) -> None:
    """Let the detector send what is left: on a picture without a face."""
    stack.stop("detector")
    blank = stack.folder / "blank"
    blank.mkdir(exist_ok=True)
    cv2.imwrite(str(blank / "blank.png"), np.zeros((64, 64, 3), np.uint8))
    stack.set("detector", "SOURCE", str(blank))
    stack.start("detector")
    _watch(stack)


def _keep(stack: Stack) -> None:
    keys = " ".join(f"{name}={value}" for name, value in stack.keys.items())
    console.print(
        f"everything runs on until Ctrl-C; the store: {stack.s3_url} with {keys}", soft_wrap=True
    )
    try:
        signal.pause()
    except KeyboardInterrupt:
        return


@contextmanager
def _alone() -> Iterator[None]:
    """One demo at a time in a checkout."""
    FOLDER.parent.mkdir(exist_ok=True)
    with (FOLDER.parent / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                "a demo is running already in this checkout: end it with Ctrl-C first"
            ) from None
        yield


@contextmanager
def _stopped_in_peace() -> Iterator[None]:
    """Once we are stopping, a further Ctrl-C changes nothing: every part is ended in its turn."""
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        (FOLDER / "store.url").unlink(missing_ok=True)
        console.print("stopping", style="dim")


if __name__ == "__main__":
    main()
