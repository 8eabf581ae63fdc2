"""Random numbers by address: who draws, where and what for, never what was drawn before.

A draw is a pure function of a key and an index, and a key is a digest of an address. Whatever is
done again (a retry, a restart, a replay in the simulator, the same device in another process)
draws the same numbers. Nothing here is cryptographic: never use a draw as a secret or as the noise
of a privacy mechanism.

Only integer arithmetic modulo 2**32 and the correctly rounded operations of IEEE 754 are used
(``+ - * /`` and the square root), so the numbers are the same on every machine.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_CHUNK = 2**15  # indices per inner step: the temporaries stay within a level-2 cache
_WORDS_MAX = 2**32  # the counter has 32 bits; within one key no word comes twice

_KEY_TAG = b"fedtier draw 1\0"
_GOLDEN_RATIO = np.uint32(0x9E3779B9)
_MULTIPLIER_1 = np.uint32(0x7FEB352D)
_MULTIPLIER_2 = np.uint32(0x846CA68B)
_COUNTERS = np.arange(_CHUNK, dtype=np.uint32) * _GOLDEN_RATIO


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawKey:
    """One stream of draws; two numbers of 32 bits.

    Take keys from ``draw_key``. Two streams whose ``k0`` are equal while their ``k1`` differ in a
    few bits are *not* independent; a digest makes that as rare as a collision of 32 bits.
    """

    k0: int
    k1: int

    def __post_init__(self) -> None:
        assert 0 <= self.k0 < 2**32, self.k0
        assert 0 <= self.k1 < 2**32, self.k1


def draw_key(*, seed: int, path: str, node: str, tensor: str = "", purpose: str) -> DrawKey:
    """Turn an address into the key of its stream.

    Args:
        seed: The plan's seed, 64 bits.
        path: Where in the run, usually an iteration path such as ``r12.3.1``.
        node: The id of the node that draws.
        tensor: What part of the model, or ``""`` for all of it.
        purpose: What the numbers are for, so that two uses at one place never share a stream.

    Returns:
        The first eight bytes, as two little-endian numbers, of the SHA-256 of the tag
        ``fedtier draw 1`` and a zero byte, the seed as eight little-endian bytes, then path,
        node, tensor and purpose, each as its UTF-8 bytes after their number as four
        little-endian bytes. Lengths make the encoding injective.
    """
    assert 0 <= seed < 2**64, seed
    address = [_KEY_TAG, struct.pack("<Q", seed)]
    for text in (path, node, tensor, purpose):
        encoded = text.encode()
        address += [struct.pack("<I", len(encoded)), encoded]
    k0, k1 = struct.unpack_from("<II", hashlib.sha256(b"".join(address)).digest())
    return DrawKey(k0=k0, k1=k1)


def words(key: DrawKey, count: int, start: int = 0) -> npt.NDArray[np.uint32]:
    """Draw 32-bit words: index ``i`` of stream ``key`` for ``start <= i < start + count``.

    The word of index i, all modulo 2**32::

        h = i * 0x9E3779B9 + k0
        h = (h ^ h >> 16) * 0x7FEB352D
        h = (h ^ h >> 15 ^ k1) * 0x846CA68B
        word = h ^ h >> 16

    Every line is a bijection, so the words of one stream are distinct. The multipliers and shifts
    are the ``lowbias32`` finaliser of C. Wellons ("Prospecting for hash functions", 2018); the
    xor with ``k1`` between the multiplications keeps streams from being shifts of each other.

    Returns:
        Shape ``(count,)``.
    """
    drawn = np.empty(count, dtype=np.uint32)
    for first, mixed in _each_chunk(key, count, start):
        part = drawn[first : first + mixed.size]
        np.right_shift(mixed, 16, out=part)
        part ^= mixed
    return drawn


def uniform16(key: DrawKey, count: int, start: int = 0) -> npt.NDArray[np.uint16]:
    """Draw integers uniform on 0..65535: the upper halves of ``words``, shape ``(count,)``.

    Sixteen bits suffice for stochastic rounding: ``draw + 1/2 < 65536 f`` has a probability
    within 2**-17 of f.
    """
    drawn = np.empty(count, dtype=np.uint16)
    for first, mixed in _each_chunk(key, count, start):
        mixed >>= 16  # the last shift and xor of a word leave its upper half as it is
        drawn[first : first + mixed.size] = mixed
    return drawn


def uniform01(key: DrawKey, count: int, start: int = 0) -> npt.NDArray[np.float64]:
    """Draw multiples of 2**-53 uniform on [0, 1), shape ``(count,)``.

    Draw i is ``(a * 2**26 + b) * 2**-53`` with a the upper 27 bits of word 2i and b the upper 26
    bits of word 2i + 1.
    """
    drawn = np.empty(count, dtype=np.float64)
    half = _CHUNK // 2
    for first in range(0, count, half):
        part = drawn[first : first + half]
        pairs = words(key, 2 * part.size, 2 * (start + first))
        np.multiply(pairs[0::2] >> 5, 2.0**26, out=part)
        part += pairs[1::2] >> 6
        part *= 2.0**-53
    return drawn


def normal(key: DrawKey, count: int) -> npt.NDArray[np.float64]:
    """Draw from the normal distribution of mean 0 and variance 1, shape ``(count,)``.

    The method of Box and Muller on consecutive draws u, v of ``uniform01``: draws 2p and 2p + 1
    are ``sqrt(-2 log(1 - u))`` times the cosine and the sine of ``2 pi v``. Logarithm, cosine and
    sine are the series below and not the platform's, whose last bits differ between machines.
    The largest magnitude there can be is 8.6.
    """
    drawn = np.empty(count + count % 2, dtype=np.float64)
    for first in range(0, drawn.size, _CHUNK // 2):
        part = drawn[first : first + _CHUNK // 2]
        uniform = uniform01(key, part.size, first)
        radius = np.sqrt(-2.0 * _log(1.0 - uniform[0::2]))
        cosine, sine = _cosine_and_sine_of_turns(uniform[1::2])
        np.multiply(radius, cosine, out=part[0::2])
        np.multiply(radius, sine, out=part[1::2])
    return drawn[:count]


def permutation(key: DrawKey, count: int) -> npt.NDArray[np.int64]:
    """Shuffle ``0 .. count - 1``: the indices in the order of their words, shape ``(count,)``.

    The words of one stream are distinct, so there are no ties and any sort gives this order.
    """
    return np.argsort(words(key, count)).astype(np.int64, copy=False)


def _each_chunk(
    key: DrawKey, count: int, start: int
) -> Iterator[tuple[int, npt.NDArray[np.uint32]]]:
    """Mix every index but for the last shift and xor of ``words``; scratch, valid for one step."""
    assert count >= 0, count
    assert 0 <= start <= _WORDS_MAX - count, (start, count)
    mixed = np.empty(min(count, _CHUNK), dtype=np.uint32)
    shifted = np.empty_like(mixed)
    for first in range(0, count, _CHUNK):
        size = min(_CHUNK, count - first)
        h, high = mixed[:size], shifted[:size]
        offset = ((start + first) * int(_GOLDEN_RATIO) + key.k0) % 2**32
        np.add(_COUNTERS[:size], np.uint32(offset), out=h)
        np.right_shift(h, 16, out=high)
        h ^= high
        h *= _MULTIPLIER_1
        np.right_shift(h, 15, out=high)
        h ^= high
        h ^= np.uint32(key.k1)
        h *= _MULTIPLIER_2
        yield first, h


_LOG_2 = math.log(2.0)
_LOG_SERIES = tuple(2.0 / (2 * k + 1) for k in range(12))  # of s**(2k + 1)
_COSINE_SERIES = tuple((-1) ** k / math.factorial(2 * k) for k in range(9))  # of r**(2k)
_SINE_SERIES = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(8))  # of r**(2k + 1)
_HALF_ROOT = 0.7071067811865476


def _log(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Take the natural logarithm of 0 < x <= 1, within a few units in the last place.

    ``x = m 2**e`` with m in [sqrt(1/2), sqrt(2)); ``log m = 2 artanh(s)``, ``s = (m-1)/(m+1)``,
    by twelve terms of its series, the next one being below 1e-19.
    """
    mantissa, exponent = np.frexp(x)
    low = mantissa < _HALF_ROOT
    mantissa = np.where(low, 2.0 * mantissa, mantissa)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    return _series(_LOG_SERIES, s * s) * s + (exponent - low) * _LOG_2


def _cosine_and_sine_of_turns(
    turns: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Take cosine and sine of ``2 pi turns``, 0 <= turns < 1, within 1e-15.

    The nearest quarter turn is taken off exactly; Taylor's series for what remains, at most an
    eighth of a turn either way, leave out less than 1e-16.
    """
    quarters = np.rint(4.0 * turns)
    angle = (4.0 * turns - quarters) * (math.pi / 2.0)
    square = angle * angle
    cosine = _series(_COSINE_SERIES, square)
    sine = _series(_SINE_SERIES, square) * angle
    quarter = quarters.astype(np.int64)
    odd = quarter & 1 == 1
    cosine_sign = 1.0 - (quarter + 1 & 2)
    sine_sign = 1.0 - (quarter & 2)
    return np.where(odd, sine, cosine) * cosine_sign, np.where(odd, cosine, sine) * sine_sign


def _series(coefficients: tuple[float, ...], x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sum ``coefficients[k] * x**k`` by Horner's rule, from the last coefficient on."""
    total = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total *= x
        total += coefficient
    return total
