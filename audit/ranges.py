"""Sets of seqs that stay small: what is known about each in a byte, and what is told of them as runs."""

from collections.abc import Iterator
from itertools import groupby

# What is known about a seq: by the bucket, then by the ledger.
STORED, TWICE, SPOILT, WAITING, DROPPED, QUARANTINED = 1, 2, 4, 8, 16, 32

_SIZE = 1 << 16


class Seqs:
    """Seqs in rising order, held and written as runs: 2, 5-9."""

    def __init__(self) -> None:
        self._runs: list[tuple[int, int]] = []

    def add(self, first: int, last: int) -> None:
        """Append all from `first` to `last`, which are above those that are here."""
        if self._runs and self._runs[-1][1] == first - 1:
            first = self._runs.pop()[0]
        self._runs.append((first, last))

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self._runs)

    def __iter__(self) -> Iterator[int]:
        return (seq for first, last in self._runs for seq in range(first, last + 1))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Seqs | list)
            and len(self) == len(other)
            and all(map(int.__eq__, self, other))
        )

    __hash__ = None  # type: ignore[assignment] # it grows

    def __str__(self) -> str:
        return ", ".join(
            str(first) if first == last else f"{first}-{last}" for first, last in self._runs
        )

    __repr__ = __str__


class Marks:
    """A byte of bits per seq, in pages that are made when they are needed: one lone high seq costs little."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def __getitem__(self, seq: int) -> int:
        page = self._pages.get(seq // _SIZE)
        return page[seq % _SIZE] if page else 0

    def __setitem__(self, seq: int, bits: int) -> None:
        self._page(seq // _SIZE)[seq % _SIZE] = bits

    def set(self, seq: int, bits: int) -> None:
        """Add `bits` to those of a seq."""
        self._page(seq // _SIZE)[seq % _SIZE] |= bits

    def fill(self, first: int, last: int, bits: int) -> None:
        """Add `bits` to those of all from `first` to `last`."""
        added = bytes(old | bits for old in range(256))
        for number in range(first // _SIZE, last // _SIZE + 1):
            page, base = self._page(number), number * _SIZE
            part = slice(max(first - base, 0), min(last - base + 1, _SIZE))
            page[part] = page[part].translate(added)

    def runs(self, last: int) -> Iterator[tuple[int, int, int]]:
        """First, last and bits of each run of seqs alike, from 1 to `last`; a run may end where the next is like it."""
        seq = 1
        while seq <= last:
            number = seq // _SIZE
            if number not in self._pages:
                beyond = min(
                    (other for other in self._pages if other > number), default=last // _SIZE + 1
                )
                yield seq, min(beyond * _SIZE - 1, last), 0
                seq = beyond * _SIZE
                continue
            base = number * _SIZE
            page = bytes(
                self._pages[number][seq - base : last - base + 1]
            )  # a copy, for marks may change meanwhile
            for bits, alike in groupby(page):
                first, seq = seq, seq + sum(1 for _ in alike)
                yield first, seq - 1, bits

    def _page(self, number: int) -> bytearray:
        if number not in self._pages:
            self._pages[number] = bytearray(_SIZE)
        return self._pages[number]
