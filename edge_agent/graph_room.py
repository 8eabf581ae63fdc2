"""Memory that the agent and its graph process both see: a graph's inputs and outputs lie there.

Running a graph then costs two short messages, however often it runs for them, and no array goes
through a socket.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Sequence

import numpy as np

from fedtier.artefact.open_graph import Array

_ALIGNMENT = 64  # of a cache line, and of what onnxruntime allocates itself
_DTYPES = {"tensor(float)": "<f4", "tensor(int64)": "<i8", "tensor(bool)": "|b1"}

ToldArray = tuple[str, list[int], str]
"""One input or output: its name, its shape, and its type as onnxruntime calls it."""


class Room:
    """The arrays of one open graph: one of each, or one for each time it runs.

    Attributes:
        arrays: Name -> array; what one process writes the other reads.
    """

    def __init__(self, descriptor: int, told: Sequence[ToldArray]) -> None:
        """Map a file in memory that is large enough for the arrays; see ``room_bytes``."""
        memory = mmap.mmap(descriptor, room_bytes(told))
        self.arrays: dict[str, Array] = {}
        offset = 0
        for name, shape, kind in told:
            self.arrays[name] = np.ndarray(shape, _DTYPES[kind], memory, offset)
            offset += _padded_bytes(shape, kind)


def room_bytes(told: Sequence[ToldArray]) -> int:
    """How much memory the arrays take, each from a multiple of 64."""
    return sum(_padded_bytes(shape, kind) for _, shape, kind in told)


def make_room(told: Sequence[ToldArray]) -> tuple[int, Room]:
    """A fresh file in memory with room for the arrays: its descriptor, and the room.

    Raises:
        OSError: If there is no memory for it.
    """
    descriptor = os.memfd_create("fedtier-graph")
    os.ftruncate(descriptor, room_bytes(told))
    return descriptor, Room(descriptor, told)


def _padded_bytes(shape: Sequence[int], kind: str) -> int:
    size = math.prod(shape) * np.dtype(_DTYPES[kind]).itemsize
    return size + -size % _ALIGNMENT
