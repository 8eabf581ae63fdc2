"""The way in: from what a node's file says about its data to examples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np

from fedtier.data.examples import DeviceData, Examples, HeldOut
from fedtier.data.preprocessing import Pipeline
from fedtier.data.recording import Recording, check_recordings, hash_recordings
from fedtier.data.sources import open_device, open_held_out
from fedtier.data.split import split_in_time
from fedtier.errors import ConfigError

_DIGEST_TAG = b"fedtier data 1\0"


def load_device(
    spec: Mapping[str, object],
    preprocessing: Sequence[Mapping[str, object]],
    *,
    node: str,
    where: str,
) -> DeviceData:
    """Load what one device trains on and what it keeps back.

    Each recording is cut in time first; transforms are fitted to the training part alone.

    Args:
        spec: The node's data table: ``source``, ``holdout_percent`` (15 by default) and what the
            source asks for, such as ``{"source": "imu", "subject": 3, "side": 1}``.
        preprocessing: The artefact's list of transforms.
        node: The device's id.
        where: What to name in errors, such as ``agent-3.toml [data]``.

    Raises:
        ConfigError: If the data are missing, damaged or too few, or the table or the list is wrong.
    """
    pipeline = Pipeline.from_json(preprocessing, where=where)
    recordings, holdout_percent = load_recordings(spec, node=node, where=where)
    training, holdout = split_in_time(recordings, holdout_percent=holdout_percent)
    fitted = pipeline.fit(training, where=where)
    train = _examples(fitted, training, part="training part", where=where)
    return DeviceData(
        train=train,
        untrained=_untrained(recordings, train),
        holdout=_examples(fitted, holdout, part="hold-out", where=where),
        fitted=tuple(fitted.to_json()),
        digest=_data_digest(recordings, pipeline, holdout_percent),
    )


def load_recordings(
    spec: Mapping[str, object], *, node: str, where: str
) -> tuple[tuple[Recording, ...], int]:
    """What one device has recorded, as it is, and how many percent of each recording it keeps back.

    Args:
        spec: The node's data table, as for ``load_device``.
        node: The device's id.
        where: What to name in errors.

    Raises:
        ConfigError: If the data are missing or damaged, or the table is wrong.
    """
    source, inner, holdout_percent = open_device(spec, where=where)
    recordings = tuple(source.device_recordings(inner, node=node, where=where))
    check_recordings(recordings, where=where)
    return recordings, holdout_percent


def load_held_out(
    spec: Mapping[str, object], preprocessing: Sequence[Mapping[str, object]], *, where: str
) -> HeldOut:
    """Load what the cloud evaluates on.

    Each group's transforms are fitted to that group's own recordings, unlabelled, as a new
    device's would be.

    Raises:
        ConfigError: As ``load_device``.
    """
    pipeline = Pipeline.from_json(preprocessing, where=where)
    source, inner = open_held_out(spec, where=where)
    groups: list[tuple[str, Examples]] = []
    for name, recordings in source.held_out_recordings(inner, where=where):
        here = f"{where}: group {name!r}"
        check_recordings(recordings, where=here)
        fitted = pipeline.fit(recordings, where=here)
        groups.append((name, _examples(fitted, recordings, part="group", where=here)))
    if not groups:
        raise ConfigError(f"{where}: the source gave no group to evaluate on. Name some.")
    return HeldOut(groups=tuple(groups))


def _examples(
    fitted: Pipeline, recordings: Sequence[Recording], *, part: str, where: str
) -> Examples:
    """The examples of one part; refuses to give none."""
    examples = fitted.examples(recordings, where=where) if recordings else None
    if examples is None or len(examples) == 0:
        longest = max((len(recording) for recording in recordings), default=0)
        remedy = "Record more, or shorten the window"
        raise ConfigError(
            f"{where}: the {part} gives no example: its longest recording has {longest} rows"
            + (f", a window takes {fitted.window.length}" if fitted.window is not None else "")
            + (f". {remedy}." if part == "group" else f". {remedy}, or change holdout_percent.")
        )
    return examples


def _untrained(recordings: Sequence[Recording], train: Examples) -> tuple[int, ...]:
    """Classes that went to the hold-out, or to windows that were dropped, with all their rows."""
    if train.y.dtype.kind == "f":
        return ()
    recorded = {int(label) for recording in recordings for label in np.unique(recording.labels)}
    return tuple(sorted(recorded - set(np.unique(train.y).tolist())))


def _data_digest(recordings: Sequence[Recording], pipeline: Pipeline, holdout_percent: int) -> str:
    """SHA-256 over preprocessing, split and raw data; fitted values follow from these."""
    treatment = {"preprocessing": pipeline.to_json(), "holdout_percent": holdout_percent}
    text = json.dumps(treatment, sort_keys=True, separators=(",", ":"), allow_nan=False)
    digest = hashlib.sha256(_DIGEST_TAG)
    digest.update(f"{len(text)}:{text}".encode())
    hash_recordings(digest, recordings)
    return digest.hexdigest()
