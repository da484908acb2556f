"""Seqs as people read them, against the seqs."""

from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from audit.ranges import ranges

SEQ = st.integers(1, 40) | st.integers(65_500, 65_600) | st.integers(999_999_990, 999_999_999)


def seqs(text: str) -> list[int]:
    """What a reader understands."""
    found: list[int] = []
    for part in text.split(", "):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


@given(st.sets(SEQ, min_size=1))
def test_ranges_name_each_seq_once(some: set[int]) -> None:
    assert seqs(ranges(BitMap(some))) == sorted(some)


@given(st.sets(SEQ, min_size=1))
def test_neighbours_are_one_range(some: set[int]) -> None:
    runs = sum(1 for seq in some if seq - 1 not in some)
    assert len(ranges(BitMap(some)).split(", ")) == runs


def test_how_they_are_written() -> None:
    assert ranges(BitMap()) == ""
    some = BitMap([2, 5, 6, 7, 8, 9])
    some.add_range(65_535, 70_001)
    assert ranges(some) == "2, 5-9, 65535-70000"


def test_a_billion_seqs_are_a_short_text() -> None:
    some = BitMap(range(4, 1_000_000_000))
    some.discard(500_000_000)
    assert ranges(some) == "4-499999999, 500000001-999999999"
