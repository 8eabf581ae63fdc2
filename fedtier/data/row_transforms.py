"""The named transforms of recordings and rows: ids, mirror, scale, standardise, window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from fedtier.data.examples import Inputs, Targets
from fedtier.data.fields import Fields
from fedtier.data.recording import Recording
from fedtier.errors import ConfigError
from fedtier.words import did_you_mean

WINDOW_ROWS_MAX = 1_000_000


class RowTransform(Protocol):
    """A transform of a recording's rows; frozen, its parameters are plain JSON.

    One whose values are fitted has an attribute ``fitted``: whether it has them.
    """

    @classmethod
    def from_fields(cls, fields: Fields) -> RowTransform:
        """Read the parameters; what is left unread is refused by the caller.

        Raises:
            ConfigError: If one is missing, unknown or out of range.
        """

    def fit(self, training: Sequence[Recording], *, where: str) -> RowTransform:
        """The transform with its values taken from the training part; itself if it has none."""

    def apply(self, recording: Recording, *, where: str) -> Recording:
        """The recording with its rows transformed; as many labels as rows, int64."""

    def to_json(self) -> dict[str, object]:
        """Name, parameters and fitted values, as they stand in a list of transforms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Multiply each channel by its sign where a trait has a value: a left wrist becomes a right.

    Attributes:
        trait: The trait of a recording that decides, such as ``side``.
        equals: The value at which a recording is mirrored.
        signs: 1 or -1 for each channel.
    """

    trait: str
    equals: int
    signs: tuple[int, ...]

    @classmethod
    def from_fields(cls, fields: Fields) -> Mirror:
        """Read ``trait``, ``equals`` and ``signs``."""
        signs = fields.integers("signs", low=-1, high=1)
        if 0 in signs:
            raise fields.error("signs", f"is {list(signs)!r}; each sign must be 1 or -1")
        equals = fields.integer("equals", low=-(2**31), high=2**31)
        return cls(trait=fields.text("trait"), equals=equals, signs=signs)

    def fit(self, training: Sequence[Recording], *, where: str) -> Mirror:
        """Nothing to fit."""
        return self

    def apply(self, recording: Recording, *, where: str) -> Recording:
        """Mirror the recording if its trait says so; float32 rows.

        Raises:
            ConfigError: If the recording lacks the trait or has another number of channels.
        """
        if self.trait not in recording.traits:
            raise ConfigError(
                f"{where}: mirror asks for the trait {self.trait!r}, which recording "
                f"{recording.key!r} lacks. {did_you_mean(self.trait, recording.traits)} Give it in "
                f"the data table: traits = {{ {self.trait} = {self.equals} }}, or another number."
            )
        require_channels(recording, len(self.signs), what="mirror.signs", where=where)
        if recording.traits[self.trait] != self.equals:
            return recording
        signs = np.array(self.signs, dtype=np.float32)
        return replace(recording, samples=recording.samples.astype(np.float32) * signs)

    def to_json(self) -> dict[str, object]:
        """The transform as JSON."""
        return {
            "name": "mirror",
            "trait": self.trait,
            "equals": self.equals,
            "signs": list(self.signs),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """Whole numbers that name something, such as words: kept as int64, checked for their range."""

    below: int

    @classmethod
    def from_fields(cls, fields: Fields) -> Ids:
        """Read ``below``."""
        return cls(below=fields.integer("below", low=1, high=2**31))

    def fit(self, training: Sequence[Recording], *, where: str) -> Ids:
        """Nothing to fit."""
        return self

    def apply(self, recording: Recording, *, where: str) -> Recording:
        """The same numbers as int64 rows of any shape."""
        wrong = (recording.samples < 0) | (recording.samples >= self.below)
        wrong |= recording.samples != np.floor(recording.samples)
        if wrong.any():
            raise ConfigError(
                f"{where}: recording {recording.key!r} holds {recording.samples[wrong][0]}, 'ids' "
                f"takes whole numbers from 0 to {self.below - 1}. Number what it names so."
            )
        return replace(recording, samples=recording.samples.astype(np.int64))

    def to_json(self) -> dict[str, object]:
        """The transform as JSON."""
        return {"name": "ids", "below": self.below}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Divide every value by one number, in float32: bytes of an image become 0 to 1."""

    divide_by: float

    @classmethod
    def from_fields(cls, fields: Fields) -> Scale:
        """Read ``divide_by``."""
        return cls(divide_by=fields.number("divide_by", low=1e-9, high=1e9))

    def fit(self, training: Sequence[Recording], *, where: str) -> Scale:
        """Nothing to fit."""
        return self

    def apply(self, recording: Recording, *, where: str) -> Recording:
        """Divide; float32 rows of any shape."""
        samples = recording.samples.astype(np.float32) / np.float32(self.divide_by)
        return replace(recording, samples=samples)

    def to_json(self) -> dict[str, object]:
        """The transform as JSON."""
        return {"name": "scale", "divide_by": self.divide_by}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standardise:
    """Bring each channel to mean 0 and standard deviation 1 over the training part.

    Attributes:
        mean: float64 mean of each channel; None before fitting.
        std: float64 standard deviation of each channel (divisor n), 1 for a constant one.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @classmethod
    def from_fields(cls, fields: Fields) -> Standardise:
        """Read ``mean`` and ``std`` if they are there: both or neither."""
        if not fields.has("mean") and not fields.has("std"):
            return cls()
        mean = fields.numbers("mean", low=-1e30, high=1e30)
        std = fields.numbers("std", low=1e-30, high=1e30)
        if len(mean) != len(std):
            raise fields.error("std", f"has {len(std)} values, mean has {len(mean)}")
        return cls(mean=mean, std=std)

    @property
    def fitted(self) -> bool:
        """Whether mean and deviation are known."""
        return self.mean is not None

    def fit(self, training: Sequence[Recording], *, where: str) -> Standardise:
        """Take mean and deviation from the training part, unless they were given."""
        if self.mean is not None:
            return self
        for recording in training:
            require_channels(recording, None, what="standardise", where=where)
        # Labels are not looked at: a new device can do this with recordings nobody has labelled.
        rows = np.concatenate([recording.samples for recording in training], dtype=np.float64)
        mean = rows.mean(axis=0)
        std = np.sqrt(((rows - mean) ** 2).mean(axis=0))
        std[std < 1e-30] = 1.0
        return Standardise(mean=tuple(mean.tolist()), std=tuple(std.tolist()))

    def apply(self, recording: Recording, *, where: str) -> Recording:
        """Standardise in float64, rounded once to float32.

        Raises:
            ConfigError: If the number of channels differs from the fitted one.
        """
        assert self.mean is not None, "standardise was applied before it was fitted"
        assert self.std is not None
        require_channels(recording, len(self.mean), what="standardise.mean", where=where)
        rows = recording.samples.astype(np.float64)
        rows -= np.array(self.mean)
        rows /= np.array(self.std)
        return replace(recording, samples=rows.astype(np.float32))

    def to_json(self) -> dict[str, object]:
        """The transform as JSON, with its fitted values if it has them."""
        if self.mean is None or self.std is None:
            return {"name": "standardise"}
        return {"name": "standardise", "mean": list(self.mean), "std": list(self.std)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Cut rows into windows of ``length``, one every ``stride`` rows; always the last transform.

    A window whose rows are of different classes is dropped; of numbers, a window's target is that
    of its last row.
    """

    length: int
    stride: int

    @classmethod
    def from_fields(cls, fields: Fields) -> Window:
        """Read ``length`` and ``stride``."""
        length = fields.integer("length", low=1, high=WINDOW_ROWS_MAX)
        return cls(length=length, stride=fields.integer("stride", low=1, high=length))

    def cut(
        self, recording: Recording, *, dtype: type[np.float32 | np.int64] = np.float32
    ) -> tuple[Inputs, Targets]:
        """The windows ``(n, channels, length)`` of that type, and their targets ``(n, ...)``."""
        count = max(0, (len(recording) - self.length) // self.stride + 1)
        channels = recording.samples.shape[1]
        if count == 0:
            empty = np.empty((0, channels, self.length), dtype=dtype)
            return empty, recording.labels[:0]
        views = np.lib.stride_tricks.sliding_window_view(recording.samples, self.length, axis=0)
        starts = np.arange(count) * self.stride
        if recording.labels.dtype.kind == "i":
            changes = np.concatenate([[0], np.cumsum(np.diff(recording.labels) != 0)])
            starts = starts[changes[starts] == changes[starts + self.length - 1]]
        ends = starts + self.length - 1
        return np.ascontiguousarray(views[starts], dtype=dtype), recording.labels[ends]

    def to_json(self) -> dict[str, object]:
        """The transform as JSON."""
        return {"name": "window", "length": self.length, "stride": self.stride}


def require_channels(recording: Recording, count: int | None, *, what: str, where: str) -> None:
    """Refuse a recording whose rows are not channels, or not ``count`` of them.

    Raises:
        ConfigError: With both numbers and what to do.
    """
    shape = recording.samples.shape
    if len(shape) != 2:
        raise ConfigError(
            f"{where}: {what} needs rows of channels, shape (rows, channels); recording "
            f"{recording.key!r} has shape {shape}. Images take 'scale' instead."
        )
    if count is not None and shape[1] != count:
        raise ConfigError(
            f"{where}: {what} has {count} values, recording {recording.key!r} has {shape[1]} "
            "channels. Give one value for each channel."
        )
