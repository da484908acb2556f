"""Marks against a dictionary, and seqs as people read them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from audit.ranges import Marks, Seqs

SEQ = st.integers(1, 40) | st.integers(65_500, 65_600) | st.integers(400_000, 400_010)


@settings(deadline=None)
@given(st.lists(st.tuples(SEQ, st.integers(0, 30), st.sampled_from([1, 2, 4]))), SEQ)
def test_marks_are_what_was_marked(marked: list[tuple[int, int, int]], last: int) -> None:
    marks, model = Marks(), dict.fromkeys(range(1, last + 1), 0)
    for first, more, bits in marked:
        if more:
            marks.fill(first, first + more, bits)
        else:
            marks.set(first, bits)
        for seq in range(first, first + more + 1):
            model[seq] = model.get(seq, 0) | bits
    runs = list(marks.runs(last))
    assert [seq for first, final, _ in runs for seq in range(first, final + 1)] == list(
        range(1, last + 1)
    )
    assert all(model[seq] == bits for first, final, bits in runs for seq in range(first, final + 1))
    assert all(marks[seq] == bits for seq, bits in model.items())


def test_seqs_are_written_as_ranges() -> None:
    seqs = Seqs()
    assert (str(seqs), seqs) == ("", [])
    for first, last in ((2, 2), (5, 7), (8, 9), (65_535, 70_000)):
        seqs.add(first, last)
    assert str(seqs) == "2, 5-9, 65535-70000"
    assert (len(seqs), list(seqs)[:6]) == (4472, [2, 5, 6, 7, 8, 9])
    assert seqs != [2, 5]
