"""Compare the outbox's ledger with the bucket, capture by capture: ./just audit."""

import argparse
import fcntl
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from audit.bucket import READERS, Bucket, advice, client, seq_of
from audit.ranges import DROPPED, QUARANTINED, SPOILT, STORED, TWICE, WAITING, Marks, Seqs
from bus.message import ContractError
from bus.topics import checked
from demo.stack import BUCKET, Stack, StackError, answers
from deploy.containers import Project
from detector.outbox_reader import Ledger as Ledger
from detector.outbox_reader import LedgerError as LedgerError
from detector.outbox_reader import Reader, Row

_ASIDE = (
    "_"  # the processor's word for an edge or camera of a bad message that does not say whose it is
)


@dataclass
class Findings:
    """What an audit found: `missing` and `twice` are seqs, `spoilt` keys whose bytes or date are not those captured.

    Every captured seq counts once: as stored, waiting, dropped, quarantined, missing, or by its spoilt object.
    Where no outbox was asked (`ledger` is False), `captured` is the highest seq in the bucket and `quarantined` counts
    objects; whether a missing seq was dropped by choice or is on its way, the bucket does not know.
    """

    edge: str = ""
    camera: str = ""
    ledger: bool = True
    highest: int = 0
    captured: int = 0
    stored: int = 0
    waiting: int = 0
    dropped: int = 0
    quarantined: int = 0
    missing: Seqs = field(default_factory=Seqs)
    twice: Seqs = field(default_factory=Seqs)
    spoilt: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is lost and nothing is there twice."""
        return not (self.missing or self.twice or self.spoilt)

    @property
    def name(self) -> str:
        """Edge and camera."""
        return f"{self.edge}/{self.camera}"

    def line(self) -> str:
        """The last line of a demo and an audit."""
        return line([self])

    def named(self) -> list[str]:
        """A line for each kind of trouble, that names every seq or key of it."""
        kinds = {
            "missing": str(self.missing),
            "stored twice": str(self.twice),
            "spoilt": ", ".join(self.spoilt),
        }
        return [f"{self.name} {kind}: {found}" for kind, found in kinds.items() if found]

    def table(self) -> Table:
        """The same for people."""
        shown = table([self])
        shown.caption = "\n".join(self.named()) or None
        return shown

    def _count(self, marks: Marks) -> None:
        """Put every seq where it belongs."""
        for first, last, bits in marks.runs(self.captured):
            if bits & TWICE:
                self.twice.add(first, last)
            if not bits & (SPOILT | STORED | DROPPED | QUARANTINED | WAITING):
                self.missing.add(first, last)
            elif not bits & SPOILT:
                kinds = {
                    STORED: "stored",
                    DROPPED: "dropped",
                    QUARANTINED: "quarantined",
                    WAITING: "waiting",
                }
                kind = next(
                    kind for bit, kind in kinds.items() if bits & bit
                )  # what the bucket has counts first
                setattr(self, kind, getattr(self, kind) + last - first + 1)


def line(found: Sequence[Findings]) -> str:
    """The last line: sums over cameras. A bucket alone does not know what was captured, nor what is lost."""
    twice, stored = sum(len(one.twice) for one in found), sum(one.stored for one in found)
    lost = sum(len(one.missing) + len(one.spoilt) for one in found)
    if all(one.ledger for one in found):
        return f"captured={sum(one.captured for one in found)} stored={stored} lost={lost} duplicated={twice}"
    return f"seqs={sum(one.highest for one in found)} stored={stored} missing={lost} duplicated={twice}"


def table(found: Sequence[Findings]) -> Table:
    """A row for each camera."""
    ledger = all(one.ledger for one in found)
    title = "outbox ledger against bucket" if ledger else "the bucket alone"
    shown = Table(title=title, caption_justify="left", box=box.SIMPLE_HEAD, padding=0)
    shown.add_column("camera", overflow="fold")
    for name in (
        "highest",
        "stored",
        "waiting",
        "dropped",
        "quarantined",
        "missing",
        "twice",
        "spoilt",
    ):
        shown.add_column(name, justify="right", no_wrap=True)
    for one in found:
        mine = [one.waiting, one.dropped] if one.ledger else ["?", "?"]
        bad = [len(one.missing), len(one.twice), len(one.spoilt) if one.ledger else "?"]
        shown.add_row(one.name, *map(str, [one.highest, one.stored, *mine, one.quarantined, *bad]))
    return shown


def audit(
    outbox: Path, s3: Any, bucket: str, quick: bool = False, progress: Progress | None = None
) -> Findings:
    """Compare, seq by seq and byte by byte (`quick`: only whether it is there), in memory that a bucket does not fill.

    The ledger is read before the bucket, so what is captured or settled meanwhile is no cause for alarm: what was then
    not in the bucket is looked up in the ledger of that later moment, and asked for by its key.
    """
    progress = progress or Progress(disable=True)
    store, marks, beyond, last = Bucket(s3, bucket), Marks(), 0, ""
    with closing(Reader(outbox)) as reader, _Looks(store, marks, quick) as looks:
        ledger = reader.ledger(marks)
        found = Findings(
            ledger.edge, ledger.camera, highest=ledger.captured, captured=ledger.captured
        )
        task = progress.add_task(found.name, total=ledger.stored)
        for key in store.keys(f"faces/{found.name}/"):
            progress.advance(task)
            seq = seq_of(key)
            if seq > ledger.captured:
                beyond = max(beyond, seq)  # captured since the ledger was read, or nobody's
            elif seq and key == last:
                marks.set(seq, TWICE)
            elif seq and (row := reader.row(seq)):
                looks.begin(seq, key, row)
            elif seq:
                marks.set(seq, TWICE if marks[seq] & STORED else STORED)
            last = key
        looks.finish()
        for first, final, bits in marks.runs(ledger.captured):
            for seq in () if bits & ~(WAITING | TWICE) else range(first, final + 1):
                row, now = reader.row(seq), reader.now(seq)
                if (
                    row or now
                ):  # else it is missing, or so much was captured meanwhile that the ledger forgot it
                    marks[seq] = bits & TWICE | now
                if row and not now:
                    looks.begin(seq, row.key, row, listed=False)
        looks.finish()
        if beyond > ledger.captured and beyond > reader.ledger().captured:
            found.notes.append(
                f"{found.name}: the bucket has seq {beyond}, which this outbox has never given"
            )
    found.spoilt, found.notes = looks.spoilt, [*found.notes, *filter(None, [store.note])]
    found._count(marks)
    return found


class _Looks:
    """Looks at objects by several threads, a bounded number ahead, and marks what they are."""

    def __init__(self, store: Bucket, marks: Marks, quick: bool) -> None:
        self._store, self._marks, self._quick = store, marks, quick
        self._pool = ThreadPoolExecutor(READERS)
        self._ahead: deque[tuple[int, str, Future[int]]] = deque()
        self.spoilt: list[str] = []

    def __enter__(self) -> "_Looks":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def begin(self, seq: int, key: str, row: Row, listed: bool = True) -> None:
        """Find out what the object `key` of this seq is; an object that is not even there gets no mark."""
        if self._quick and listed and key == row.key:
            self._marks.set(seq, STORED)
            return
        if len(self._ahead) >= 2 * READERS:
            self._take()
        self._ahead.append((seq, key, self._pool.submit(self._judge, key, row)))

    def finish(self) -> None:
        """Wait for all that was begun."""
        while self._ahead:
            self._take()

    def _take(self) -> None:
        seq, key, judged = self._ahead.popleft()
        if bits := judged.result():
            self._marks.set(seq, bits)
        if bits == SPOILT:
            self.spoilt.append(key)

    def _judge(self, key: str, row: Row) -> int:
        if key != row.key:  # one of a pair is one too many; one alone is where nobody looks for it
            return TWICE if self._store.has(row.key) else SPOILT
        if self._quick:
            return STORED if self._store.has(key) else 0
        sha256 = self._store.sha256(key)
        return 0 if sha256 is None else STORED if sha256 == row.sha256 else SPOILT


def audit_bucket(
    s3: Any, bucket: str, edge: str = "", camera: str = "", progress: Progress | None = None
) -> Iterator[Findings]:
    """What the bucket alone tells of each camera in it, or of those of this edge or name: gaps and doubles."""
    progress = progress or Progress(disable=True)
    store = Bucket(s3, bucket)
    for found in _cameras(store, edge, camera):
        marks, last = Marks(), ""
        task = progress.add_task(found.name, total=None)
        for key in store.keys(f"faces/{found.name}/"):
            progress.advance(task)
            if seq := seq_of(key):
                marks.set(seq, TWICE if marks[seq] & STORED else STORED)
                found.highest = found.captured = max(found.highest, seq)
        for key in store.keys(f"quarantine/{found.name}/"):
            found.quarantined += key != last
            last = key
        if found.highest or found.quarantined:
            found._count(marks)
            found.notes += filter(None, [store.note])
            yield found


def _cameras(store: Bucket, edge: str, camera: str) -> Iterator[Findings]:
    for one in [edge] if edge else _names(store, ""):
        for other in [camera] if camera else _names(store, f"{one}/"):
            yield Findings(one, other, ledger=False)


def _names(store: Bucket, below: str) -> list[str]:
    """Edges, or cameras `below` an edge, that have faces or objects in quarantine."""
    names = {name for root in ("faces/", "quarantine/") for name in store.names(root + below)}
    return sorted(name for name in names if name == _ASIDE or _is_name(name))


def _is_name(text: str) -> bool:
    try:
        return bool(checked(text, "name"))
    except ContractError:
        return False


def main() -> None:
    """Audit the last demo, or any outboxes and bucket that this machine reaches."""
    parser = argparse.ArgumentParser("./just audit", description=__doc__)
    parser.add_argument(
        "--outbox",
        type=Path,
        action="append",
        help="a detector's outbox; may be given several times",
    )
    parser.add_argument(
        "--bucket-only", action="store_true", help="without an outbox: every camera in the bucket"
    )
    parser.add_argument("--edge", default="", help="with --bucket-only: of this edge")
    parser.add_argument("--camera", default="", help="with --bucket-only: of this name")
    parser.add_argument("--quick", action="store_true", help="see what is there, do not read it")
    parser.add_argument("--bucket", help=f"({BUCKET})")
    parser.add_argument(
        "--endpoint", help="the store's URL (AWS S3); keys come from AWS_* as everywhere"
    )
    parser.add_argument("--demo", action="store_true", help="the last demo, even if containers run")
    chosen = parser.parse_args()
    if chosen.bucket_only and (chosen.outbox or chosen.quick):
        parser.error("--bucket-only reads no outbox and no object: leave --outbox and --quick away")
    if (chosen.edge or chosen.camera) and not chosen.bucket_only:
        parser.error("--edge and --camera go with --bucket-only: an outbox is of one camera")
    if (chosen.bucket or chosen.endpoint) and not (chosen.outbox or chosen.bucket_only):
        parser.error("--bucket and --endpoint go with --outbox or --bucket-only")
    if chosen.demo and (chosen.outbox or chosen.bucket or chosen.endpoint):
        parser.error(
            "--demo has its own outbox and store: leave --outbox, --bucket and --endpoint away"
        )
    if not (chosen.outbox or chosen.demo or chosen.bucket or chosen.endpoint) and _in_containers():
        print("the containers:", file=sys.stderr)
        command = [*Project("compose").compose, "run", "--rm", "--quiet-pull", "audit"]
        sys.exit(subprocess.run([*command, *_inside(chosen)], check=False).returncode)
    chosen.bucket = chosen.bucket or BUCKET
    try:
        found = _audits(chosen)
    except (LedgerError, StackError, OSError) as error:
        sys.exit(str(error))
    except ContractError as error:
        sys.exit(f"--{error}")
    except (ClientError, BotoCoreError, ValueError) as error:
        sys.exit(advice(error, chosen.bucket))
    except KeyboardInterrupt:
        sys.exit("stopped; nothing was changed")
    if not found:
        sys.exit(
            f"bucket '{chosen.bucket}' has no face{' of those names' * bool(chosen.edge or chosen.camera)}"
        )
    _tell(found)
    sys.exit(not all(one.sound for one in found))


def _in_containers() -> bool:
    """Whether a store that stands in for AWS runs here; one half of a real system has none."""
    return any(part.service == "store" for part in Project("compose").parts())


def _inside(chosen: argparse.Namespace) -> list[str]:
    """The command for the container, if it is not its own."""
    if not (chosen.bucket_only or chosen.quick):
        return []
    command = ["audit.compare", "--endpoint", "http://store:8333"]
    command += ["--quick"] * chosen.quick
    if not chosen.bucket_only:
        return [*command, "--outbox", "/outbox/outbox.db"]
    names = [
        f"--{name}={getattr(chosen, name)}" for name in ("edge", "camera") if getattr(chosen, name)
    ]
    return [*command, "--bucket-only", *names]


def _audits(chosen: argparse.Namespace) -> list[Findings]:
    """What was asked for, camera by camera."""
    for name in ("edge", "camera"):
        if text := getattr(chosen, name):
            checked(text, name)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    said = Console(stderr=True)
    with Progress(*columns, console=said, transient=True, disable=not said.is_terminal) as progress:
        if chosen.demo or not (chosen.outbox or chosen.bucket_only):
            with _demo(Path(os.environ.get("RUN", ".run/demo"))) as (outbox, s3):
                if chosen.bucket_only:
                    return list(audit_bucket(s3, BUCKET, chosen.edge, chosen.camera, progress))
                return [audit(outbox, s3, BUCKET, chosen.quick, progress)]
        here = Path(os.environ.get("INVOKED_FROM", "."))
        for outbox in chosen.outbox or ():
            Ledger.read(here / outbox)  # what is wrong here is said before the store is asked
        s3 = client(chosen.endpoint)
        if chosen.bucket_only:
            return list(audit_bucket(s3, chosen.bucket, chosen.edge, chosen.camera, progress))
        return [
            audit(here / outbox, s3, chosen.bucket, chosen.quick, progress)
            for outbox in chosen.outbox
        ]


def _tell(found: list[Findings]) -> None:
    """The table, then every seq and key that is in trouble, then the sums."""
    console = Console()
    if not console.is_terminal:
        console.width = 200  # nothing is folded in a file or a pipe
    console.print(table(found))
    for one in found:
        print(*one.named(), sep="\n", end="\n" * bool(one.named()))
    for note in dict.fromkeys(note for one in found for note in one.notes):
        print(f"note: {note}")
    if not all(one.ledger for one in found):
        print(
            "note: only the outbox knows whether a missing seq was dropped by choice or is still on its way"
        )
    print(line(found))


def audit_demo(folder: Path) -> Findings:
    """Audit what a demo left in `folder`, with its store running or not."""
    with _demo(folder) as (outbox, s3):
        return audit(outbox, s3, BUCKET)


@contextmanager
def _demo(folder: Path) -> Iterator[tuple[Path, Any]]:
    """Outbox and store of a demo, for as long as it takes."""
    Reader(folder / "detector" / "outbox.db").close()
    with Stack(folder) as stack:
        running = folder / "store.url"
        with (folder / "store.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a second audit waits, for a store has one server
            if running.exists() and answers(running.read_text()):
                stack.s3_url = running.read_text()
            else:
                stack.start("store")
            yield stack.outbox, stack.s3()


if __name__ == "__main__":
    main()
