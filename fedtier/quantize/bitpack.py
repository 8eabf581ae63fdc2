"""Codes of 1 to 16 bits, side by side without gaps.

The stream's bit b is bit ``b % 8``, counted from the least significant, of byte ``b // 8``. Code j
fills the bits from ``j * width`` on, its least significant first. What is left of the last byte is
zero. So a width of 8 gives bytes, and a width of 16 little-endian numbers of two bytes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fedtier.errors import WireError

WIDTH_MAX = 16
_Integers: TypeAlias = npt.NDArray[np.integer[Any]]
_CHUNK = 2**15  # codes per inner step, a multiple of 8 so that every step ends with a byte


def packed_bytes(width: int, count: int) -> int:
    """Give the length of ``count`` packed codes: ``ceil(count * width / 8)``."""
    return -(-count * width // 8)


def pack(codes: npt.NDArray[np.uint16], width: int) -> bytes:
    """Pack codes, shape ``(n,)``, each below ``2**width``, 1 <= width <= 16."""
    assert 1 <= width <= WIDTH_MAX, width
    assert codes.size == 0 or int(codes.max()) < 2**width, "a code does not fit its field"
    if width in (8, 16):
        return codes.astype(f"<u{width // 8}").tobytes()
    starts = range(0, codes.size, _CHUNK)
    return b"".join(_pack_chunk(codes[first : first + _CHUNK], width) for first in starts)


def unpack(data: bytes | memoryview, width: int, count: int) -> npt.NDArray[np.uint16]:
    """Read ``count`` codes.

    Returns:
        Shape ``(count,)``, each below ``2**width``.

    Raises:
        WireError: If the length is not ``packed_bytes(width, count)``, or a bit after the last
            code is set.
    """
    assert 1 <= width <= WIDTH_MAX, width
    if len(data) != packed_bytes(width, count):
        raise WireError(
            f"{count} codes of {width} bits come in {len(data)} bytes, "
            f"expected {packed_bytes(width, count)}"
        )
    raw = np.frombuffer(data, dtype=np.uint8)
    if width in (8, 16):
        return raw.view(f"<u{width // 8}").astype(np.uint16)
    codes = np.empty(count, dtype=np.uint16)
    chunk_bytes = _CHUNK * width // 8
    for index, first in enumerate(range(0, count, _CHUNK)):
        part = codes[first : first + _CHUNK]
        part[:] = _unpack_chunk(
            raw[index * chunk_bytes : (index + 1) * chunk_bytes], width, part.size
        )
    return codes


# Eight codes fill exactly `width` bytes. They are joined pairwise: two to a pair of 2 width bits,
# two pairs to a quad of 4 width <= 60 bits, and two quads over a word of 64 bits and its overflow.


def _pack_chunk(codes: npt.NDArray[np.uint16], width: int) -> bytes:
    groups = -(-codes.size // 8)
    fields = np.zeros(8 * groups, dtype=np.uint32)
    fields[: codes.size] = codes
    pairs = (fields[0::2] | fields[1::2] << width).astype(np.uint64)
    quads = pairs[0::2] | pairs[1::2] << 2 * width
    words = np.empty((groups, 2), dtype="<u8")
    words[:, 0] = quads[0::2] | quads[1::2] << 4 * width
    words[:, 1] = quads[1::2] >> 64 - 4 * width
    packed = words.view(np.uint8)[:, :width].tobytes()
    return packed[: packed_bytes(width, codes.size)]


def _unpack_chunk(raw: npt.NDArray[np.uint8], width: int, count: int) -> _Integers:
    groups = -(-count // 8)
    padded = np.zeros(groups * width, dtype=np.uint8)
    padded[: raw.size] = raw
    words = np.zeros((groups, 16), dtype=np.uint8)
    words[:, :width] = padded.reshape(groups, width)
    low, high = words.view("<u8").T
    quads = _interleave(low, low >> 4 * width | high << 64 - 4 * width)
    quads &= 2 ** (4 * width) - 1
    pairs = _interleave(quads, quads >> 2 * width).astype(np.uint32)
    pairs &= 2 ** (2 * width) - 1
    fields = _interleave(pairs, pairs >> width)
    fields &= 2**width - 1
    if fields[count:].any():
        raise WireError(f"the bits after the last of {count} codes are not zero")
    return fields[:count]


def _interleave(even: _Integers, odd: _Integers) -> _Integers:
    both = np.empty(2 * even.size, dtype=even.dtype)
    both[0::2] = even
    both[1::2] = odd
    return both
