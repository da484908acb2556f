"""Looking at the objects of one camera, by several threads."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum, auto
from types import TracebackType
from typing import NamedTuple, Self

from pyroaring import BitMap

from audit.bucket import READERS, Bucket
from detector.outbox_reader import Entry

_AHEAD = 2 * READERS  # objects that are begun before the first of them is waited for


class _Verdict(Enum):
    STORED = auto()
    TWICE = auto()
    SPOILT = auto()
    ABSENT = auto()


class _Look(NamedTuple):
    seq: int
    key: str
    verdict: Future[_Verdict]


class Inspection:
    """What the bucket has of one camera; a context manager.

    `stored`, `twice` and `spoilt` are seqs, of which one may be in several; `spoilt_keys` are
    objects. `quick` sees what is there and reads nothing.
    """

    def __init__(self, bucket: Bucket, *, quick: bool) -> None:
        self.stored = BitMap()
        self.twice = BitMap()
        self.spoilt = BitMap()
        self.spoilt_keys: list[str] = []
        self._bucket = bucket
        self._quick = quick
        self._last_key = ""
        self._pool = ThreadPoolExecutor(READERS)
        self._begun: deque[_Look] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def take(self, seq: int, key: str, entry: Entry | None) -> None:
        """Look at a listed object; where the ledger has no entry any more, being there will do."""
        if key == self._last_key:
            self.twice.add(seq)  # another version of the same object
        elif entry is None:
            self._count(seq)
        elif self._quick and key == entry.key:
            self.stored.add(seq)
        else:
            self._begin(seq, key, entry)
        self._last_key = key

    def ask_for(self, entry: Entry) -> None:
        """Look for an object that was not listed."""
        self._begin(entry.seq, entry.key, entry)

    def finish(self) -> None:
        """Wait for all that was begun."""
        while self._begun:
            self._end_oldest()

    def _count(self, seq: int) -> None:
        if seq in self.stored:
            self.twice.add(seq)
        self.stored.add(seq)

    def _begin(self, seq: int, key: str, entry: Entry) -> None:
        if len(self._begun) >= _AHEAD:
            self._end_oldest()
        verdict = self._pool.submit(self._judge, key, entry)
        self._begun.append(_Look(seq, key, verdict))

    def _end_oldest(self) -> None:
        look = self._begun.popleft()
        match look.verdict.result():
            case _Verdict.STORED:
                self.stored.add(look.seq)
            case _Verdict.TWICE:
                self.twice.add(look.seq)
            case _Verdict.SPOILT:
                self.spoilt.add(look.seq)
                self.spoilt_keys.append(look.key)

    def _judge(self, key: str, entry: Entry) -> _Verdict:
        """What the object `key` of a capture is; runs in the pool."""
        if key != entry.key:
            # One of a pair is one too many; one alone is where nobody looks for it.
            return _Verdict.TWICE if self._bucket.has(entry.key) else _Verdict.SPOILT
        if self._quick:
            return _Verdict.STORED if self._bucket.has(key) else _Verdict.ABSENT
        sha256 = self._bucket.sha256(key)
        if sha256 is None:
            return _Verdict.ABSENT
        return _Verdict.STORED if sha256 == entry.sha256 else _Verdict.SPOILT
