"""Sums in float64 whose order is part of the protocol, so that every machine gets the same bits.

A sum *by folding halves*: pad with zeros to a power of two; while more than one number is left,
add the upper half onto the lower, number by number. Adding a zero changes nothing (nothing here is
negative), so the padding is never made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fedtier.model.layout import Vector

_BLOCK = 2**15  # a power of two, so that folding blocks onto blocks is folding halves

_Doubles: TypeAlias = npt.NDArray[np.float64]
_Block: TypeAlias = Callable[[int, int], _Doubles]


def fold(values: _Doubles) -> float:
    """Add non-negative numbers, shape ``(n,)`` with n at least 1, by folding halves."""
    return _fold_blocks(values.size, lambda low, high: values[low:high].copy())


def sum_of_squares(vector: Vector) -> float:
    """Square in float64 (exact) and add by folding halves; NaN or infinity if the vector has any.

    Never below the square of any coordinate: rounding is monotone and all terms are at least 0.
    """
    return _fold_blocks(
        vector.size,
        lambda low, high: np.square(vector[low:high], dtype=np.float64),
    )


def bucket_sums_of_squares(vector: Vector, bucket: int) -> _Doubles:
    """Apply ``sum_of_squares`` to consecutive runs of ``bucket`` coordinates; the last is shorter.

    Returns:
        Shape ``(ceil(d / bucket),)``.
    """
    if bucket >= _BLOCK:
        starts = range(0, vector.size, bucket)
        return np.array([sum_of_squares(vector[first : first + bucket]) for first in starts])
    full = vector.size // bucket
    sums = np.empty(-(-vector.size // bucket), dtype=np.float64)
    step = _BLOCK // bucket
    for first in range(0, full, step):
        last = min(first + step, full)
        rows = vector[first * bucket : last * bucket].reshape(last - first, bucket)
        sums[first:last] = _fold_rows(np.square(rows, dtype=np.float64))
    if full < sums.size:
        sums[full] = sum_of_squares(vector[full * bucket :])
    return sums


def _fold_blocks(size: int, block: _Block) -> float:
    """Fold ``size`` numbers that ``block(low, high)`` makes, one block per level in memory."""
    return float(_fold_rows(_folded(size, block, 0, 1)[np.newaxis])[0])


def _folded(size: int, block: _Block, first: int, stride: int) -> _Doubles:
    """Fold the blocks first, first + stride, first + 2 stride, ... into one block."""
    if (first + stride) * _BLOCK >= size:
        return block(first * _BLOCK, min((first + 1) * _BLOCK, size))
    lower = _folded(size, block, first, 2 * stride)
    upper = _folded(size, block, first + stride, 2 * stride)
    lower[: upper.size] += upper
    return lower


def _fold_rows(rows: _Doubles) -> _Doubles:
    """Fold each row of ``(n, m)`` in place; returns the first column, shape ``(n,)``."""
    size = rows.shape[1]
    while size > 1:
        half = 1 << (size - 1).bit_length() - 1  # the padded row's half
        rows[:, : size - half] += rows[:, half:size]
        size = half
    return rows[:, 0]
