"""A tensor inside a graph under construction: a name with a static shape and type."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Dtype = Literal["float32", "int64", "bool"]


@dataclass(frozen=True, slots=True)
class Value:
    """One edge of the graph."""

    name: str
    shape: tuple[int, ...]
    dtype: Dtype

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape numpy's broadcasting gives; sizes must agree or be 1."""
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    result = []
    for sizes in zip(*padded, strict=True):
        wide = {size for size in sizes if size != 1}
        assert len(wide) <= 1, shapes
        result.append(wide.pop() if wide else 1)
    return tuple(result)


def normal_axis(axis: int, rank: int) -> int:
    """Count a negative axis from the end."""
    assert -rank <= axis < rank or (rank == 0 and axis in (0, -1)), (axis, rank)
    return axis % rank if rank else 0
