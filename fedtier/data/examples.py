"""Examples as a trainer and an evaluation take them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Inputs = npt.NDArray[np.float32 | np.int64]
Labels = npt.NDArray[np.int64]
Targets = Labels | npt.NDArray[np.float32]
"""Class numbers, shape ``(n,)``, or numbers to come near to, float32, shape ``(n, ...)``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """Inputs with their targets, in a fixed order.

    Attributes:
        x: Inputs, float32, or int64 where they name something; C-contiguous, shape ``(n, ...)``;
            of a window ``(n, channels, length)``.
        y: Class numbers, int64, shape ``(n,)``; or numbers, float32, shape ``(n, ...)``.
    """

    x: Inputs
    y: Targets

    def __post_init__(self) -> None:
        assert self.x.dtype in (np.float32, np.int64), self.x.dtype
        assert self.x.flags.c_contiguous
        check_targets(self.y, rows=len(self.x))

    def __len__(self) -> int:
        return len(self.y)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over shapes, inputs and targets (little-endian), 64 hexadecimal digits."""
        digest = hashlib.sha256()
        hash_array(digest, self.x)
        hash_array(digest, self.y)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviceData:
    """What one device trains on and what it keeps back.

    Attributes:
        train: Examples the device trains on.
        holdout: The last part of each of its recordings in time; never trained on.
        untrained: Classes, ascending, that rows of this device have and no training example has.
        fitted: The preprocessing with the values fitted to this device's training part, as JSON;
            given instead of the preprocessing, it treats new data as these were treated.
        digest: SHA-256 over raw data, split and preprocessing, 64 hexadecimal digits.
    """

    train: Examples
    holdout: Examples
    untrained: tuple[int, ...]
    fitted: tuple[Mapping[str, object], ...]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Examples of sources that no device trains on, by group; one group is one wrist, say.

    Attributes:
        groups: Name and examples of each group, in the order of the specification.
    """

    groups: tuple[tuple[str, Examples], ...]


def check_targets(targets: Targets, *, rows: int) -> None:
    """Assert that targets are what they are said to be, one for each row."""
    assert targets.dtype in (np.int64, np.float32), targets.dtype
    assert targets.shape[:1] == (rows,), (targets.shape, rows)
    assert targets.dtype == np.float32 or targets.ndim == 1, targets.shape


def hash_array(digest: hashlib._Hash, array: npt.NDArray[Any]) -> None:
    """Feed dtype, shape and little-endian bytes of an array of numbers into a digest."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    header = f"{little.dtype.kind}{little.dtype.itemsize}{array.shape}"
    digest.update(header.encode("ascii"))
    digest.update(little.tobytes())
