"""The source ``csv-directory``: a folder of CSV files for each device, or one file for each.

The specification names the columns::

    source = "csv-directory"
    path = "/var/lib/readings"          # holds <device>/*.csv or <device>.csv, or .CSV
    features = ["ax", "ay", "az"]
    label = "state"
    labels = ["idle", "worn", "faulty"] # class 0, 1, 2; without it the column holds the numbers
    traits = { machine = 3 }            # for a transform that asks for it
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fedtier.data.device_directory import (
    NamedDevice,
    held_out_devices,
    one_device,
    selection_of,
)
from fedtier.data.fields import Fields
from fedtier.data.recording import Recording
from fedtier.data.selection import Selection
from fedtier.errors import ConfigError
from fedtier.words import did_you_mean

COMMON_KEYS = ("path", "features", "label", "labels", "delimiter")
_LABEL_DIGITS_MAX = 6
_DELIMITERS = (";", "\t", "|", ",")
_NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    features: tuple[str, ...]
    label: str
    classes: Mapping[str, int]  # empty: the label column holds whole numbers
    delimiter: str


def device_selection(spec: Mapping[str, object], *, node: str, where: str) -> Selection:
    """The files of one device; ``device`` is the node's id by default.

    Raises:
        ConfigError: If a key is unknown or missing, or a value cannot be.
    """
    device, columns = _device_table(spec, node=node, where=where)
    return _selection([device], columns, key="device")


def held_out_selection(spec: Mapping[str, object], *, where: str) -> Selection:
    """The files of ``devices``.

    Raises:
        ConfigError: If a key is unknown or missing, or a value cannot be.
    """
    devices, columns = _held_out_table(spec, where=where)
    return _selection(devices, columns, key="devices")


def device_recordings(
    spec: Mapping[str, object], *, node: str, where: str
) -> tuple[Recording, ...]:
    """The files of one device, each a recording.

    Raises:
        ConfigError: As ``device_selection``; if there is no file, or one lacks a column or holds a
            wrong value: the message names the line and the column.
    """
    device, columns = _device_table(spec, node=node, where=where)
    return _recordings(device, columns, where=where)


def held_out_recordings(
    spec: Mapping[str, object], *, where: str
) -> tuple[tuple[str, tuple[Recording, ...]], ...]:
    """The files of ``devices``, each device a group of its own.

    Raises:
        ConfigError: As ``device_recordings``.
    """
    devices, columns = _held_out_table(spec, where=where)
    return tuple((d.name, _recordings(d, columns, where=where)) for d in devices)


def _device_table(
    spec: Mapping[str, object], *, node: str, where: str
) -> tuple[NamedDevice, _Columns]:
    fields = Fields(spec, where=where)
    device, columns = one_device(fields, node=node), _columns(fields)
    fields.finish()
    return device, columns


def _held_out_table(
    spec: Mapping[str, object], *, where: str
) -> tuple[tuple[NamedDevice, ...], _Columns]:
    fields = Fields(spec, where=where)
    devices, columns = held_out_devices(fields), _columns(fields)
    fields.finish()
    return devices, columns


def _selection(devices: Sequence[NamedDevice], columns: _Columns, *, key: str) -> Selection:
    # A file of a device's folder lies below the folder: a table may name it as a device, too.
    selection = selection_of(
        devices,
        key=key,
        origins=[device.folder for device in devices],
        paths=[_place(device) for device in devices],
    )
    return replace(selection, channels=len(columns.features))


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


def _place(device: NamedDevice) -> Path:
    """The folder of a device if it has one, else the single file."""
    if device.folder.is_dir():
        return device.folder
    capitals = device.file(".CSV")
    return capitals if capitals.is_file() else device.file(".csv")


def _recordings(device: NamedDevice, columns: _Columns, *, where: str) -> tuple[Recording, ...]:
    return tuple(
        _read(file, columns, device.traits, where=where) for file in _files(device, where=where)
    )


def _files(device: NamedDevice, *, where: str) -> list[Path]:
    """The device's files in name order; at least one."""
    place = _place(device)
    if not place.is_dir():
        if place.is_file():
            return [place]
        raise ConfigError(
            f"{where}: neither {device.folder}/*.csv nor {device.file('.csv')} exists. Put the "
            "device's readings there, with a line of column names on top."
        )
    try:
        inside = sorted(place.iterdir())
    except OSError as error:
        raise ConfigError(f"{where}: {place} cannot be listed ({error.strerror}).") from error
    files = [path for path in inside if path.suffix.lower() == ".csv"]  # loggers write .CSV too
    if not files:
        names = [path.name for path in inside]
        there = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
        raise ConfigError(
            f"{where}: {place} holds no .csv file"
            + (f"; what it holds: {there}" if names else " and nothing else")
            + ". Put the device's readings there as CSV, with a line of column names on top."
        )
    return files


def _read(path: Path, columns: _Columns, traits: Mapping[str, int], *, where: str) -> Recording:
    samples: list[list[float]] = []
    labels: list[int] = []
    lines: list[int] = []
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
                    lines.append(rows.line_num)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{where}: {path} cannot be read as CSV ({error}).") from error
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite in it
        array = np.array(samples, dtype=np.float32).reshape(len(labels), len(columns.features))
    for row, column in np.argwhere(~np.isfinite(array))[:1]:
        raise ConfigError(
            f"{where}: {path} line {lines[row]} column {columns.features[column]!r} is "
            f"{samples[row][column]}: NaN, infinity, or more than float32 holds. Remove or repair "
            "that row, and others like it."
        )
    return Recording(
        key=path.stem,
        samples=array,
        labels=np.array(labels, dtype=np.int64),
        traits=traits,
        origin=str(path),
    )


def _positions(
    header: Sequence[str], columns: _Columns, *, path: Path, where: str
) -> tuple[int, ...]:
    """Where the features and, last, the label stand in a row."""
    names = [name.strip() for name in header]
    for column in (*columns.features, columns.label):
        if column not in names:
            hint = did_you_mean(column, names)
            raise ConfigError(
                f"{where}: {path} has no column {column!r}. {hint}"
                + _other_delimiter(names, columns.delimiter)
            )
    return tuple(names.index(column) for column in (*columns.features, columns.label))


def _other_delimiter(names: Sequence[str], delimiter: str) -> str:
    """The question whether the file's delimiter is another; empty if no name has one in it."""
    found = [mark for mark in _DELIMITERS if mark != delimiter and any(mark in n for n in names)]
    return f" Is the delimiter {found[0]!r}?" if found else ""


def _row(
    row: Sequence[str], positions: tuple[int, ...], columns: _Columns, *, here: str
) -> tuple[list[float], int]:
    if len(row) <= max(positions):
        raise ConfigError(f"{here} has {len(row)} values, fewer than there are columns.")
    *features, label = (row[position].strip() for position in positions)
    try:
        values = [float(feature) for feature in features]
    except ValueError as error:
        raise _no_number(features, columns, here=here) from error
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


def _no_number(features: Sequence[str], columns: _Columns, *, here: str) -> ConfigError:
    """What is wrong with the first feature of a row that is no number."""
    column, text = next(
        (column, text)
        for column, text in zip(columns.features, features, strict=True)
        if not _is_number(text)
    )
    here = f"{here} column {column!r}"
    if not text:
        return ConfigError(f"{here} is empty. Give a number in every row, or leave the row out.")
    hint = "Features must be numbers."
    if _is_number(text.replace(",", ".", 1)):
        hint = "Write decimals with a point, not with a comma."
    return ConfigError(f"{here} is {text[:20]!r}, which is no number. {hint}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
