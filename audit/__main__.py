"""What was captured against what a bucket holds, capture by capture: ./just audit."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from audit.bucket import advice, client
from audit.compare import audit
from audit.findings import Findings, line, table
from audit.inventory import audit_bucket
from bus.message import ContractError
from bus.topics import checked
from detector.outbox_reader import Ledger, LedgerError

BUCKET = "faces"  # what the demo and the containers call theirs
PIPE_WIDTH = 200  # columns: nothing is folded in a file or a pipe
RENAMED = {
    "--outbox": "./just audit outbox FILE...",
    "--bucket-only": "./just audit bucket",
    "--demo": "./just audit demo",
}
EPILOG = """
Without a word: the containers that run here, else the last demo. `demo` and `containers` choose;
they take --quick, or: bucket [--edge EDGE] [--camera CAMERA].
"""
NOTE = "only the outbox knows whether a missing seq was dropped by choice or is still on its way"


def main(words: Sequence[str]) -> NoReturn:
    """Audit outboxes against a bucket, or a bucket alone, as the words say."""
    _name_new_words(words)
    chosen = _parser().parse_args(words)
    try:
        found = _found(chosen)
    except (LedgerError, OSError) as error:
        sys.exit(str(error))
    except ContractError as error:
        sys.exit(f"--{error}")
    except (ClientError, BotoCoreError, ValueError) as error:
        sys.exit(advice(error, chosen.bucket))
    except KeyboardInterrupt:
        sys.exit("stopped; nothing was changed")
    if not found and (chosen.edge or chosen.camera):
        sys.exit(f"bucket '{chosen.bucket}' has no face of those names")
    if not found:
        sys.exit(f"bucket '{chosen.bucket}' has no face")
    _tell(found)
    sound = all(one.sound for one in found)
    sys.exit(not sound)


def _name_new_words(words: Sequence[str]) -> None:
    """Say what to type in place of an option that became a word."""
    for word in words:
        option = word.partition("=")[0]
        if option in RENAMED:
            print(f"{option} is a word of its own now: type {RENAMED[option]}", file=sys.stderr)
            sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    store = argparse.ArgumentParser(add_help=False)
    store.add_argument("--bucket", default=BUCKET, help=f"({BUCKET})")
    store.add_argument(
        "--endpoint", help="the store's URL (AWS S3); keys come from AWS_* as everywhere"
    )
    parser = argparse.ArgumentParser("./just audit", description=__doc__, epilog=EPILOG)
    words = parser.add_subparsers(dest="word", required=True)
    outbox = words.add_parser("outbox", parents=[store], help="cameras, by their outboxes")
    outbox.add_argument(
        "outboxes", type=Path, nargs="+", metavar="FILE", help="a detector's outbox"
    )
    outbox.add_argument("--quick", action="store_true", help="see what is there, do not read it")
    outbox.set_defaults(edge=None, camera=None)
    bucket = words.add_parser(
        "bucket", parents=[store], help="without an outbox: every camera in the bucket"
    )
    bucket.add_argument("--edge", help="of this edge")
    bucket.add_argument("--camera", help="of this name")
    return parser


def _found(chosen: argparse.Namespace) -> list[Findings]:
    """What was asked for, camera by camera."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        if chosen.word == "outbox":
            return _outboxes(chosen, progress)
        return _bucket(chosen, progress)


def _outboxes(chosen: argparse.Namespace, progress: Progress) -> list[Findings]:
    here = Path(os.environ.get("INVOKED_FROM", "."))
    outboxes = [here / outbox for outbox in chosen.outboxes]
    for outbox in outboxes:
        Ledger.read(outbox)  # what is wrong here is said before the store is asked
    s3 = client(chosen.endpoint)
    return [
        audit(outbox, s3, chosen.bucket, quick=chosen.quick, progress=progress)
        for outbox in outboxes
    ]


def _bucket(chosen: argparse.Namespace, progress: Progress) -> list[Findings]:
    if chosen.edge:
        checked(chosen.edge, "edge")
    if chosen.camera:
        checked(chosen.camera, "camera")
    s3 = client(chosen.endpoint)
    return audit_bucket(
        s3,
        chosen.bucket,
        edge=chosen.edge,
        camera=chosen.camera,
        progress=progress,
    )


def _tell(found: Sequence[Findings]) -> None:
    """The table, then every seq and key that is in trouble, then the sums."""
    console = Console()
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table(found))
    for one in found:
        for trouble in one.named():
            print(trouble)
    notes = [note for one in found for note in one.notes]
    if not all(one.ledger for one in found):
        notes.append(NOTE)
    for note in dict.fromkeys(notes):  # each once
        print(f"note: {note}")
    print(line(found))


if __name__ == "__main__":
    main(sys.argv[1:])
