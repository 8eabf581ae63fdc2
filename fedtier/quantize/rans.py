"""Whole numbers, most of them small, in little more than their order-0 entropy.

A range asymmetric numeral system (rANS) with one static table in each message. Source: Duda,
"Asymmetric numeral systems", arXiv:1311.2540, 2013; several states that take turns are from Giesen,
"Interleaved entropy coders", arXiv:1402.3392, 2014.

**The message.** Numbers of the header are LEB128: seven bits a byte, least significant first, the
eighth set while more follow; signed ones are zigzag (0, -1, 1, -2 are 0, 1, 2, 3)::

    lanes    the base-2 logarithm of how many states take turns, 0..12
    low      the smallest value with a symbol of its own, signed
    symbols  how many values from there on have one, 1..256
    escapes  how many values have none
    table    the frequency of each symbol, then of the escape, in 1/16384; 16384 in all
    values   those that have no symbol, signed, in their order
    states   of every lane, u32 little-endian, in [2^16, 2^32)
    words    u16 little-endian, as the reader takes them

Value i is read from state ``i mod lanes``: with f the frequency of its symbol and c the sum of the
frequencies before it, the symbol is the one with ``c <= x mod 16384 < c + f``; the state becomes
``f (x div 16384) + x mod 16384 - c``, and where that is below 2^16 it is shifted left by 16 bits
and takes a word. In the end every state is 2^16 and no word is left, so a changed message is most
likely found out.

**Its length.** Rounding frequencies to 1/16384 costs next to nothing; each lane costs the 16 bits
with which its state begins, and there is one for every 1500 to 3000 bits. With the table that is 1
to 3 % more than the order-0 entropy, from some 800 bytes on.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fedtier.errors import WireError

_Integers: TypeAlias = npt.NDArray[np.integer[Any]]
_U64: TypeAlias = npt.NDArray[np.uint64]

VALUE_MAX = 2**31 - 1  # in magnitude
SYMBOLS_MAX = 256
LANES_LOG2_MAX = 12
_BITS = 14
_SCALE = 2**_BITS
_LOWEST = 2**16  # of a state
_WORD_BITS = 16
_BITS_PER_LANE = 1500
_ESCAPE_BITS = 9  # about what the escape before a value costs
_LEB_BYTES_MAX = 5  # of a number below 2^35


def encode_integers(values: _Integers) -> bytes:
    """Write whole numbers, shape ``(n,)`` with n at least 1, each at most 2^31 - 1 in magnitude."""
    assert values.ndim == 1, values.shape
    assert values.size, "nothing to write"
    assert max(-int(values.min()), int(values.max())) <= VALUE_MAX
    low, counts = _alphabet(values)
    symbols = values.astype(np.int64) - low
    escaped = (symbols < 0) | (symbols >= counts.size)
    symbols[escaped] = counts.size
    escapes = values[escaped]
    counts = np.append(counts, escapes.size)
    frequencies = _normalised(counts)
    used = counts > 0
    bits = -float(counts[used] @ np.log2(frequencies[used] / _SCALE))
    log2 = min(LANES_LOG2_MAX, max(0, int(bits / _BITS_PER_LANE).bit_length() - 1))
    header = bytearray()
    for number in (log2, _zigzag(low), counts.size - 1, escapes.size, *frequencies.tolist()):
        header += _leb(number)
    for value in escapes.tolist():
        header += _leb(_zigzag(value))
    states, words = _encode(symbols, frequencies.astype(np.uint64), lanes=2**log2)
    return bytes(header) + states.astype("<u4").tobytes() + words.tobytes()


def encoded_bytes_max(count: int) -> int:
    """No ``count`` numbers need more: a symbol of the lowest frequency, and a value beside it."""
    header: int = 4 * _LEB_BYTES_MAX + 3 * (SYMBOLS_MAX + 1) + 4 * (1 << LANES_LOG2_MAX)
    return header + count * _LEB_BYTES_MAX + -(-count * _BITS // 8) + 2


def decode_integers(data: bytes | memoryview, count: int) -> npt.NDArray[np.int64]:
    """Read ``count`` whole numbers.

    Returns:
        Shape ``(count,)``, each at most 2^31 - 1 in magnitude.

    Raises:
        WireError: If the bytes are no message of so many values.
    """
    reader = _Reader(data)
    log2 = reader.number(LANES_LOG2_MAX, "the number of lanes")
    low = reader.signed("the lowest value")
    size = reader.number(SYMBOLS_MAX, "the number of symbols")
    escapes = reader.number(count, "the number of escapes")
    if size == 0 or low + size - 1 > VALUE_MAX:
        raise WireError(f"rans: {size} symbols from {low} on")
    table = [reader.number(_SCALE, "a frequency") for _ in range(size + 1)]
    if sum(table) != _SCALE:
        raise WireError(f"rans: frequencies of {sum(table)}/{_SCALE} in all")
    others = [reader.signed("a value") for _ in range(escapes)]
    rest = reader.rest()
    lanes = 2**log2
    if len(rest) < 4 * lanes or len(rest) % 2:
        raise WireError(f"rans: {len(rest)} bytes for {lanes} states and words of two")
    states = np.frombuffer(rest[: 4 * lanes], dtype="<u4").astype(np.uint64)
    words = np.frombuffer(rest[4 * lanes :], dtype="<u2").astype(np.uint64)
    symbols = _decode(states, words, np.array(table, dtype=np.uint64), count)
    values = symbols.astype(np.int64) + low
    escaped = symbols == size
    if np.count_nonzero(escaped) != escapes:
        raise WireError(f"rans: {escapes} escapes announced, {np.count_nonzero(escaped)} met")
    values[escaped] = others
    return values


def _alphabet(values: _Integers) -> tuple[int, npt.NDArray[np.int64]]:
    """The smallest value with a symbol, and how often each from there on occurs.

    Values far out that are rare have none: their place in the table would cost more.
    """
    present, counts = np.unique(values, return_counts=True)
    least = values.size / _SCALE  # counts below are rounded up, at the cost of all others
    own = counts * _BITS + np.maximum(0, least - counts) / math.log(2)
    at = present.astype(np.int64)
    far = np.abs(at)
    bytes_ = 1 + sum((far >= 2**edge).astype(np.int64) for edge in (6, 13, 20, 27))
    spared = np.cumsum((_ESCAPE_BITS + 8 * bytes_) * counts - own)  # bits, up to each value
    # A window's gain is what its values spare, less the 8 bits of each place in the table.
    last = int(np.argmax(spared - 8.0 * at))
    first = int(np.argmax(8.0 * at[: last + 1] - np.append(0, spared)[: last + 1]))
    if at[last] - at[first] >= SYMBOLS_MAX:  # the one with the most of them
        ends = np.searchsorted(at, at + SYMBOLS_MAX)
        before = np.append(0, np.cumsum(counts))
        first = int(np.argmax(before[ends] - before[:-1]))
        last = int(ends[first]) - 1
    low = int(at[first])
    dense = np.zeros(int(at[last]) - low + 1, dtype=np.int64)
    dense[at[first : last + 1] - low] = counts[first : last + 1]
    return low, dense


def _normalised(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Frequencies in 1/16384, at least 1 for what occurs, by the largest remainders."""
    ideal = counts * (_SCALE / int(counts.sum()))
    frequencies = np.where(counts > 0, np.maximum(1, np.floor(ideal)), 0).astype(np.int64)
    over = int(frequencies.sum()) - _SCALE
    while over > 0:  # from those that are the most above their share, one each
        able = np.flatnonzero(frequencies > 1)
        chosen = able[np.argsort((ideal - frequencies)[able], kind="stable")[:over]]
        frequencies[chosen] -= 1
        over -= chosen.size
    if over < 0:
        chosen = np.argsort(frequencies - ideal, kind="stable")[:-over]
        frequencies[chosen] += 1
    return frequencies


def _encode(
    symbols: npt.NDArray[np.int64], frequencies: _U64, *, lanes: int
) -> tuple[_U64, npt.NDArray[np.uint16]]:
    """The states with which a reader begins, and the words it takes; written from the end."""
    before = np.cumsum(frequencies) - frequencies
    states = np.full(lanes, _LOWEST, dtype=np.uint64)
    shift, room = np.uint64(_WORD_BITS), np.uint64(32 - _BITS)
    words: list[npt.NDArray[np.uint64]] = []
    for first in range((symbols.size - 1) // lanes * lanes, -1, -lanes):
        row = symbols[first : first + lanes]
        x = states[: row.size]
        frequency = frequencies[row]
        full = x >= frequency << room
        if full.any():
            words.append(x[full])
            x[full] >>= shift
        x += x // frequency * (_SCALE - frequency) + before[row]
    words.reverse()
    joined = np.concatenate(words) if words else np.zeros(0, dtype=np.uint64)
    return states, joined.astype("<u2")  # the lowest 16 bits of each


def _decode(states: _U64, words: _U64, frequencies: _U64, count: int) -> npt.NDArray[np.uint16]:
    """The symbols; states and words must come out even.

    Raises:
        WireError: If they do not.
    """
    if states.min() < _LOWEST:
        raise WireError("rans: a state below 2^16")
    lanes = states.size
    of_slot = np.repeat(np.arange(frequencies.size, dtype=np.uint16), frequencies.astype(np.int64))
    frequency = frequencies[of_slot]
    offset = np.arange(_SCALE, dtype=np.uint64) - (np.cumsum(frequencies) - frequencies)[of_slot]
    symbols = np.empty(count, dtype=np.uint16)
    shift, low_bits, bits = np.uint64(_WORD_BITS), np.uint64(_SCALE - 1), np.uint64(_BITS)
    taken = 0
    for first in range(0, count, lanes):
        row = symbols[first : first + lanes]
        x = states[: row.size]
        slot = x & low_bits
        row[:] = of_slot[slot]
        x[:] = frequency[slot] * (x >> bits) + offset[slot]
        low = x < _LOWEST
        needed = int(np.count_nonzero(low))
        if needed:
            if taken + needed > words.size:
                raise WireError(f"rans: {words.size} words are too few")
            x[low] = x[low] << shift | words[taken : taken + needed]
            taken += needed
    if taken != words.size or (states != _LOWEST).any():
        raise WireError(f"rans: {taken} of {words.size} words taken, or a state is left over")
    return symbols


def _zigzag(value: int) -> int:
    return 2 * value if value >= 0 else -2 * value - 1


def _leb(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


class _Reader:
    """The header's numbers, one after the other."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._at = 0

    def number(self, most: int, what: str) -> int:
        """One number, from 0 to ``most``."""
        value = 0
        for index in range(_LEB_BYTES_MAX):
            if self._at >= len(self._data):
                raise WireError(f"rans: the bytes end in {what}")
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if value > most:
                    raise WireError(f"rans: {what} is {value}, at most {most}")
                return value
        raise WireError(f"rans: {what} has more than {_LEB_BYTES_MAX} bytes")

    def signed(self, what: str) -> int:
        """One zigzag number, at most 2^31 - 1 in magnitude."""
        value = self.number(2 * VALUE_MAX, what)
        return value // 2 if value % 2 == 0 else -(value // 2) - 1

    def rest(self) -> memoryview:
        """What follows the header."""
        return self._data[self._at :]
