"""Raw data as a source gives them: rows in time, each with a label."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fedtier.data.examples import Targets, check_targets, hash_array
from fedtier.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """Consecutive rows of one source: sensor readings in time, or images in order.

    Attributes:
        key: A name, unique within its device or group; for messages and the digest.
        samples: Rows, shape ``(T, ...)``: ``(T, channels)`` of a sensor, ``(T, 1, height, width)``
            of grey images; any real dtype.
        labels: The class number of each row, int64, shape ``(T,)``, >= 0; or what a model is to
            come near to, float32, shape ``(T, ...)``.
        traits: Whole numbers that a transform may ask for, such as ``{"side": 1}``.
        origin: Where it was read from, such as a file's path; for messages alone.
    """

    key: str
    samples: npt.NDArray[Any]
    labels: Targets
    traits: Mapping[str, int] = field(default_factory=dict)
    origin: str = ""

    def __post_init__(self) -> None:
        check_targets(self.labels, rows=len(self.samples))

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, start: int, stop: int) -> Recording:
        """The rows ``start`` to ``stop - 1`` as a recording of their own (views, no copies)."""
        return replace(self, samples=self.samples[start:stop], labels=self.labels[start:stop])


def check_recordings(recordings: Sequence[Recording], *, where: str) -> None:
    """Check what a source returned before anything is computed from it.

    Raises:
        ConfigError: If there is none, one is empty, rows or targets differ in shape or kind, a
            value is not finite, or a label is negative.
    """
    if not recordings:
        raise ConfigError(f"{where}: the source gave no recording. Name data that exist.")
    shape = recordings[0].samples.shape[1:]
    for recording in recordings:
        of = f" ({recording.origin})" if recording.origin else ""
        here = f"{where}: recording {recording.key!r}{of}"
        if len(recording) == 0:
            raise ConfigError(f"{here} has no rows. Remove it or fill it.")
        if recording.samples.shape[1:] != shape:
            raise ConfigError(
                f"{here} has rows of shape {recording.samples.shape[1:]}, the first has {shape}. "
                "All recordings of a device must agree."
            )
        _check_finite(recording.samples, "samples", here=here)
        _check_finite(recording.labels, "labels", here=here)
        if recording.labels.shape[1:] != recordings[0].labels.shape[1:]:
            raise ConfigError(
                f"{here} has targets of shape {recording.labels.shape[1:]}, the first has "
                f"{recordings[0].labels.shape[1:]}. All recordings of a device must agree."
            )
        if recording.labels.dtype != recordings[0].labels.dtype:
            raise ConfigError(
                f"{here} has targets of {recording.labels.dtype}, the first of "
                f"{recordings[0].labels.dtype}. Give classes in all recordings, or in none."
            )
        if recording.labels.dtype.kind == "i" and int(recording.labels.min()) < 0:
            raise ConfigError(
                f"{here} has the label {int(recording.labels.min())}. Labels count from 0."
            )


def _check_finite(array: npt.NDArray[Any], name: str, *, here: str) -> None:
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    places = np.argwhere(~np.isfinite(array))
    first, rows = tuple(places[0].tolist()), len(np.unique(places[:, 0]))
    raise ConfigError(
        f"{here} holds NaN or infinity in {rows} of its {len(array)} rows, first in row "
        f"{first[0]}, counted from 0: {name}{list(first)} is {array[first]}. Remove or repair "
        "those rows."
    )


def hash_recordings(digest: hashlib._Hash, recordings: Sequence[Recording]) -> None:
    """Feed keys, traits, samples and labels of recordings, in order, into a digest."""
    for recording in recordings:
        traits = ",".join(f"{name}={recording.traits[name]}" for name in sorted(recording.traits))
        digest.update(f"{len(recording.key)}:{recording.key}{{{traits}}}".encode())
        hash_array(digest, recording.samples)
        hash_array(digest, recording.labels)
