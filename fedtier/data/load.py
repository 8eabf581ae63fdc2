"""The way in: from what a node's file says about its data to examples.

A source is a module or object with the two functions of ``Source``. Those of the table are built
in; any other name is looked up, only then, among the entry points of group ``fedtier.data``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import import_module, metadata
from typing import Protocol, cast

from fedtier.data.examples import DeviceData, Examples, HeldOut
from fedtier.data.fields import Fields
from fedtier.data.preprocessing import Pipeline
from fedtier.data.recording import Recording, check_recordings, hash_recordings
from fedtier.data.split import HOLDOUT_PERCENT_DEFAULT, HOLDOUT_PERCENT_MAX, split_in_time
from fedtier.errors import ConfigError
from fedtier.words import did_you_mean

ENTRY_POINT_GROUP = "fedtier.data"

BUILT_IN = {
    "imu": "fedtier.data.imu",
    "fashion-mnist": "fedtier.data.fashion",
    "npz-directory": "fedtier.data.npz_directory",
    "csv-directory": "fedtier.data.csv_directory",
}

_DIGEST_TAG = b"fedtier data 1\0"


class Source(Protocol):
    """Where recordings come from; a module with these two functions will do."""

    def device_recordings(
        self, spec: Mapping[str, object], *, node: str, where: str
    ) -> Sequence[Recording]:
        """The recordings of one device.

        Args:
            spec: The node's data table without ``source`` and ``holdout_percent``.
            node: The device's id.
            where: What to name in errors.

        Raises:
            ConfigError: If the table or the data cannot be; it says what to do.
        """

    def held_out_recordings(
        self, spec: Mapping[str, object], *, where: str
    ) -> Sequence[tuple[str, Sequence[Recording]]]:
        """Recordings that no device trains on, by named group; the cloud evaluates on them."""


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
    source, inner, holdout_percent = _open(spec, where=where)
    recordings = tuple(source.device_recordings(inner, node=node, where=where))
    check_recordings(recordings, where=where)
    training, holdout = split_in_time(recordings, holdout_percent=holdout_percent)
    fitted = pipeline.fit(training, where=where)
    return DeviceData(
        train=_examples(fitted, training, part="training part", where=where),
        holdout=_examples(fitted, holdout, part="hold-out", where=where),
        fitted=tuple(fitted.to_json()),
        digest=_data_digest(recordings, pipeline, holdout_percent),
    )


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
    source, inner, _ = _open(spec, where=where)
    groups: list[tuple[str, Examples]] = []
    for name, recordings in source.held_out_recordings(inner, where=where):
        here = f"{where}: group {name!r}"
        check_recordings(recordings, where=here)
        fitted = pipeline.fit(recordings, where=here)
        groups.append((name, _examples(fitted, recordings, part="group", where=here)))
    if not groups:
        raise ConfigError(f"{where}: the source gave no group to evaluate on. Name some.")
    return HeldOut(groups=tuple(groups))


def _open(spec: Mapping[str, object], *, where: str) -> tuple[Source, dict[str, object], int]:
    """The source, what is left of the table for it, and the hold-out in percent."""
    fields = Fields(spec, where=where)
    name = fields.text("source")
    holdout_percent = fields.integer(
        "holdout_percent", low=1, high=HOLDOUT_PERCENT_MAX, default=HOLDOUT_PERCENT_DEFAULT
    )
    inner = {k: v for k, v in spec.items() if k not in ("source", "holdout_percent")}
    return _find_source(name, where=where), inner, holdout_percent


def _find_source(name: str, *, where: str) -> Source:
    if name in BUILT_IN:
        return cast(Source, import_module(BUILT_IN[name]))
    found = {point.name: point for point in metadata.entry_points(group=ENTRY_POINT_GROUP)}
    if name not in found:
        hint = did_you_mean(name, [*BUILT_IN, *found])
        raise ConfigError(f"{where}: source {name!r} is unknown. {hint}")
    source = found[name].load()
    for function in ("device_recordings", "held_out_recordings"):
        if not callable(getattr(source, function, None)):
            raise ConfigError(
                f"{where}: source {name!r} ({found[name].value}) has no function {function}. "
                "Install a version of it that fits this one."
            )
    return cast(Source, source)


def _examples(
    fitted: Pipeline, recordings: Sequence[Recording], *, part: str, where: str
) -> Examples:
    """The examples of one part; refuses to give none."""
    examples = fitted.examples(recordings, where=where) if recordings else None
    if examples is None or len(examples) == 0:
        longest = max((len(recording) for recording in recordings), default=0)
        raise ConfigError(
            f"{where}: the {part} gives no example: its longest recording has {longest} rows"
            + (f", a window takes {fitted.window.length}" if fitted.window is not None else "")
            + ". Record more, shorten the window, or change holdout_percent."
        )
    return examples


def _data_digest(recordings: Sequence[Recording], pipeline: Pipeline, holdout_percent: int) -> str:
    """SHA-256 over preprocessing, split and raw data; fitted values follow from these."""
    treatment = {"preprocessing": pipeline.to_json(), "holdout_percent": holdout_percent}
    text = json.dumps(treatment, sort_keys=True, separators=(",", ":"), allow_nan=False)
    digest = hashlib.sha256(_DIGEST_TAG)
    digest.update(f"{len(text)}:{text}".encode())
    hash_recordings(digest, recordings)
    return digest.hexdigest()
