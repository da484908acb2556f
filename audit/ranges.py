"""Sets of seqs as people read them."""

from pyroaring import BitMap


def ranges(seqs: BitMap) -> str:
    """The seqs in rising order, neighbours as one: '2, 5-9'."""
    firsts = seqs - seqs.shift(1)
    lasts = seqs - seqs.shift(-1)
    return ", ".join(map(_range, firsts, lasts))


def _range(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first}-{last}"
