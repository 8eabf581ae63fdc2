"""The source ``csv-directory``: a folder of CSV files for each device, or one file for each.

The specification names the columns::

    source = "csv-directory"
    path = "/var/lib/readings"          # holds <device>/*.csv or <device>.csv
    features = ["ax", "ay", "az"]
    label = "state"
    labels = ["idle", "worn", "faulty"] # class 0, 1, 2; without it the column holds the numbers
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedtier.data.fields import Fields
from fedtier.data.recording import Recording
from fedtier.errors import ConfigError
from fedtier.words import did_you_mean

_LABEL_DIGITS_MAX = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    features: tuple[str, ...]
    label: str
    classes: Mapping[str, int]  # empty: the label column holds whole numbers
    delimiter: str


def device_recordings(
    spec: Mapping[str, object], *, node: str, where: str
) -> tuple[Recording, ...]:
    """The files of one device, each a recording; ``device`` is the node's id by default.

    Raises:
        ConfigError: If there is no file, or one lacks a column or holds a wrong value; the
            message names the line.
    """
    fields = Fields(spec, where=where)
    directory, columns = fields.path("path"), _columns(fields)
    device = fields.text("device", default=node)
    fields.finish()
    return _recordings(directory, device, columns, where=where)


def held_out_recordings(
    spec: Mapping[str, object], *, where: str
) -> tuple[tuple[str, tuple[Recording, ...]], ...]:
    """The files of ``devices``, each device a group of its own.

    Raises:
        ConfigError: As ``device_recordings``.
    """
    fields = Fields(spec, where=where)
    directory, columns = fields.path("path"), _columns(fields)
    devices = fields.texts("devices")
    fields.finish()
    return tuple((name, _recordings(directory, name, columns, where=where)) for name in devices)


def _columns(fields: Fields) -> _Columns:
    delimiter = fields.text("delimiter", default=",")
    if len(delimiter) != 1:
        raise fields.error("delimiter", f"is {delimiter!r}; it must be one character")
    label, features = fields.text("label"), fields.texts("features")
    if label in features:
        raise fields.error("label", f"is {label!r}, which is a feature too; name another column")
    names = fields.texts("labels") if fields.has("labels") else ()
    classes = {name: index for index, name in enumerate(names)}
    return _Columns(features=features, label=label, classes=classes, delimiter=delimiter)


def _recordings(
    directory: Path, device: str, columns: _Columns, *, where: str
) -> tuple[Recording, ...]:
    folder, single = directory / device, directory / f"{device}.csv"
    files = sorted(folder.glob("*.csv")) if folder.is_dir() else [single]
    if not files or not files[0].is_file():
        raise ConfigError(
            f"{where}: neither {folder}/*.csv nor {single} exists. Put the device's readings "
            "there, with a line of column names on top."
        )
    return tuple(_read(file, columns, where=where) for file in files)


def _read(path: Path, columns: _Columns, *, where: str) -> Recording:
    samples: list[list[float]] = []
    labels: list[int] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file, delimiter=columns.delimiter)
            positions = _positions(next(rows, []), columns, path=path, where=where)
            for row in rows:
                if row:
                    here = f"{where}: {path} line {rows.line_num}"
                    values = _row(row, positions, columns, here=here)
                    samples.append(values[0])
                    labels.append(values[1])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{where}: {path} cannot be read as CSV ({error}).") from error
    return Recording(
        key=path.stem,
        samples=np.array(samples, dtype=np.float32).reshape(len(labels), len(columns.features)),
        labels=np.array(labels, dtype=np.int64),
    )


def _positions(
    header: Sequence[str], columns: _Columns, *, path: Path, where: str
) -> tuple[int, ...]:
    """Where the features and, last, the label stand in a row."""
    names = [name.strip() for name in header]
    for column in (*columns.features, columns.label):
        if column not in names:
            hint = did_you_mean(column, names)
            raise ConfigError(f"{where}: {path} has no column {column!r}. {hint}")
    return tuple(names.index(column) for column in (*columns.features, columns.label))


def _row(
    row: Sequence[str], positions: tuple[int, ...], columns: _Columns, *, here: str
) -> tuple[list[float], int]:
    if len(row) <= max(positions):
        raise ConfigError(f"{here} has {len(row)} values, fewer than there are columns.")
    *features, label = (row[position].strip() for position in positions)
    try:
        values = [float(feature) for feature in features]
    except ValueError as error:
        raise ConfigError(f"{here}: {error}. Features must be numbers.") from error
    if columns.classes:
        if label not in columns.classes:
            hint = did_you_mean(label, columns.classes)
            raise ConfigError(f"{here}: label {label!r} is not among 'labels'. {hint}")
        return values, columns.classes[label]
    if not label.isdecimal() or len(label) > _LABEL_DIGITS_MAX:
        raise ConfigError(
            f"{here}: label {label[:20]!r} is not a whole number from 0 to 999999. Name the "
            "classes in 'labels'."
        )
    return values, int(label)
