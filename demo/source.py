"""What the demo looks at: the sample clip, or a camera or pictures of the user's own."""

import os
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from demo import sample
from demo.stack import ROOT, StackError


@dataclass(frozen=True)
class Source:
    """`place` is as the detector's SOURCE wants it; one that `is_live` has no end of its own."""

    place: str
    is_live: bool = False
    is_sample: bool = False


def chosen(given: str | None, console: Console) -> Source:
    """The source that was asked for, or the sample clip; raises StackError if it is not there."""
    if not given:
        return _sample(console)
    if "://" in given or given.startswith("/dev/"):
        return Source(given, is_live=True)
    invoked_from = Path(os.environ.get("INVOKED_FROM", "."))
    path = (invoked_from / given).resolve()
    if not path.exists():
        raise StackError(
            f"--source: {path} is not there: "
            "give a device, a URL, a video file or a folder of pictures"
        )
    return Source(str(path))


def _sample(console: Console) -> Source:
    folder = ROOT / ".run" / "sample"
    if not sample.clip(folder).video.exists():
        console.print("making the sample clip, once", style="dim")
    made = sample.make(folder)
    return Source(str(made.video), is_sample=True)
