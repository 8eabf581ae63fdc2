"""The named random changes of a batch: gain, rotation, time scale, noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from fedtier.data.fields import Fields
from fedtier.data.normal_table import table_normals
from fedtier.draws import DrawKey
from fedtier.errors import ConfigError

CHANNEL_MAX = 4095

Batch = npt.NDArray[np.float32]


class BatchTransform(Protocol):
    """One random change of a batch; frozen, its parameters are plain JSON."""

    @property
    def name(self) -> str:
        """What the transform is called in a list; part of the address of its draws."""

    @classmethod
    def from_fields(cls, fields: Fields) -> BatchTransform:
        """Read the parameters; what is left unread is refused by the caller.

        Raises:
            ConfigError: If one is missing, unknown or out of range.
        """

    def apply(self, x: Batch, key: DrawKey) -> Batch:
        """A new batch, or ``x`` itself overwritten; float32 and of the same shape."""

    def to_json(self) -> dict[str, object]:
        """Name and parameters, as they stand in a list of transforms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """Multiply a whole sample by one draw of N(1, ``std``)."""

    std: float
    name: ClassVar[str] = "gain"

    @classmethod
    def from_fields(cls, fields: Fields) -> Gain:
        """Read ``std``."""
        return cls(std=fields.number("std", low=0.0, high=1.0))

    def apply(self, x: Batch, key: DrawKey) -> Batch:
        """One draw per sample."""
        gains = np.float32(1.0) + np.float32(self.std) * table_normals(key, len(x))
        x *= gains.reshape(-1, *[1] * (x.ndim - 1))
        return x

    def to_json(self) -> dict[str, object]:
        """The transform as JSON."""
        return {"name": self.name, "std": self.std}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """Turn every triple of channels of a sample by one and the same small rotation.

    The rotation is ``exp(K)``, K the cross-product matrix of a vector with three draws of
    N(0, ``std_rad``): a sensor strapped on a little askew (Rodrigues' formula).
    """

    std_rad: float
    triples: tuple[tuple[int, int, int], ...]
    name: ClassVar[str] = "rotation"

    @classmethod
    def from_fields(cls, fields: Fields) -> Rotation:
        """Read ``std_rad`` and ``triples``."""
        std_rad = fields.number("std_rad", low=0.0, high=3.15)
        return cls(std_rad=std_rad, triples=fields.triples("triples", low=0, high=CHANNEL_MAX))

    def apply(self, x: Batch, key: DrawKey) -> Batch:
        """Three draws per sample, x, y and z; ``x`` has shape ``(batch, channels, length)``."""
        _check_windows(x, self.name, channels=1 + max(max(triple) for triple in self.triples))
        axes = self.std_rad * table_normals(key, 3 * len(x)).reshape(-1, 3).astype(np.float64)
        turns = rotation_matrices(axes).astype(np.float32)[:, None, :, :, None]
        channels = np.array(self.triples).reshape(-1)
        every = channels.tolist() == list(range(x.shape[1]))  # then no copy is needed
        old = (x if every else x[:, channels]).reshape(len(x), -1, 3, 1, x.shape[2])
        # Plain products and sums, not matmul: the same bits with and without fused multiply-add.
        turned = turns[:, :, :, 0] * old[:, :, 0]
        turned += turns[:, :, :, 1] * old[:, :, 1]
        turned += turns[:, :, :, 2] * old[:, :, 2]
        if every:
            return turned.reshape(x.shape)
        x[:, channels] = turned.reshape(len(x), -1, x.shape[2])
        return x

    def to_json(self) -> dict[str, object]:
        """The transform as JSON."""
        triples = [list(triple) for triple in self.triples]
        return {"name": self.name, "std_rad": self.std_rad, "triples": triples}


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeScale:
    """Play a sample faster or slower about its centre, by ``exp`` of a draw of N(0, ``std``).

    Linear interpolation; beyond its edges a sample keeps its first or last value.
    """

    std: float
    name: ClassVar[str] = "time_scale"

    @classmethod
    def from_fields(cls, fields: Fields) -> TimeScale:
        """Read ``std``."""
        return cls(std=fields.number("std", low=0.0, high=1.0))

    def apply(self, x: Batch, key: DrawKey) -> Batch:
        """One draw per sample; ``x`` has shape ``(batch, channels, length)``."""
        _check_windows(x, self.name, channels=1)
        batch, channels, length = x.shape
        if length == 1:
            return x
        rates = np.exp(self.std * table_normals(key, batch).astype(np.float64)).astype(np.float32)
        centre = np.float32((length - 1) / 2)
        offsets = np.arange(length, dtype=np.float32) - centre
        positions = np.clip(centre + rates[:, None] * offsets, 0, length - 1)
        left = np.minimum(positions.astype(np.intp), length - 2)
        fraction = (positions - left.astype(np.float32))[:, None, :]
        starts = np.arange(batch * channels, dtype=np.intp).reshape(batch, channels, 1) * length
        at = left[:, None, :] + starts
        flat = x.reshape(-1)
        # "clip" only spares numpy a checked copy: no index is outside.
        before: Batch = np.take(flat, at, mode="clip")
        after: Batch = np.take(flat[1:], at, mode="clip")
        after -= before
        after *= fraction
        after += before
        return after

    def to_json(self) -> dict[str, object]:
        """The transform as JSON."""
        return {"name": self.name, "std": self.std}


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Add a draw of N(0, ``std``) to every value."""

    std: float
    name: ClassVar[str] = "noise"

    @classmethod
    def from_fields(cls, fields: Fields) -> Noise:
        """Read ``std``."""
        return cls(std=fields.number("std", low=0.0, high=10.0))

    def apply(self, x: Batch, key: DrawKey) -> Batch:
        """One draw per value, in the order of ``x``'s memory."""
        drawn = table_normals(key, x.size).reshape(x.shape)
        drawn *= np.float32(self.std)
        x += drawn
        return x

    def to_json(self) -> dict[str, object]:
        """The transform as JSON."""
        return {"name": self.name, "std": self.std}


def rotation_matrices(axes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The rotations about given vectors by their lengths in radians (Rodrigues' formula).

    Args:
        axes: Rotation vectors, float64, shape ``(n, 3)``.

    Returns:
        Matrices ``exp(K)``, float64, shape ``(n, 3, 3)``; the identity for a zero vector.
    """
    angles = np.sqrt(axes[:, 0] ** 2 + axes[:, 1] ** 2 + axes[:, 2] ** 2)
    x, y, z = (axes / np.where(angles > 0, angles, 1.0)[:, None]).T
    cos, sin = np.cos(angles), np.sin(angles)
    versine = 1.0 - cos
    rows = [
        [cos + x * x * versine, x * y * versine - z * sin, x * z * versine + y * sin],
        [y * x * versine + z * sin, cos + y * y * versine, y * z * versine - x * sin],
        [z * x * versine - y * sin, z * y * versine + x * sin, cos + z * z * versine],
    ]
    return np.array(rows).transpose(2, 0, 1)


def _check_windows(x: Batch, name: str, *, channels: int) -> None:
    if x.ndim != 3 or x.shape[1] < channels:
        raise ConfigError(
            f"augmentation: {name!r} needs windows of shape (batch, channels, length) with at "
            f"least {channels} channels; the batch has shape {x.shape}. Leave it out for this data."
        )
