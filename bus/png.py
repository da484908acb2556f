"""What the contract takes for a PNG (RFC 2083): whole, of the size that it says, and no more."""

import struct
import zlib
from collections.abc import Iterator

SIZE_AT_MOST_PX = 8192  # of either side; far above any crop

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">II")  # length and kind of a chunk, as numbers
_AROUND = 12  # bytes of a chunk that are not its data: length, kind, checksum
_IHDR = int.from_bytes(b"IHDR", "big")
_IEND = int.from_bytes(b"IEND", "big")


def size_of_png(png: bytes) -> tuple[int, int]:
    """Width and height in pixels, as its header says; every chunk's checksum is tried.

    The pixels are not decoded. Raises ValueError.
    """
    if not png.startswith(_SIGNATURE):
        raise ValueError("png: not a PNG, or cut off")
    chunks = list(_chunks(png))
    kinds = [kind for kind, _ in chunks]
    if kinds[0] != _IHDR or kinds[-1] != _IEND or len(chunks[0][1]) < _HEADER.size:
        raise ValueError("png: not a PNG, or cut off")
    width, height = _HEADER.unpack_from(chunks[0][1])
    if not width or not height:
        raise ValueError("png: of zero size")
    if max(width, height) > SIZE_AT_MOST_PX:
        raise ValueError("png: too large a picture")
    return width, height


def _chunks(png: bytes) -> Iterator[tuple[int, memoryview]]:
    """Kind and data of each chunk, up to IEND, after which nothing may come."""
    view = memoryview(png)
    at = len(_SIGNATURE)
    kind = 0
    while kind != _IEND:
        if at + _AROUND > len(png):
            raise ValueError("png: not a PNG, or cut off")
        length, kind = _HEADER.unpack_from(png, at)
        end = at + _AROUND + length
        if end > len(png):
            raise ValueError("png: not a PNG, or cut off")
        checksum = int.from_bytes(view[end - 4 : end], "big")
        if zlib.crc32(view[at + 4 : end - 4]) != checksum:
            raise ValueError("png: a checksum is wrong")
        yield kind, view[at + 8 : end - 4]
        at = end
    if at != len(png):
        raise ValueError("png: something comes after its end")
