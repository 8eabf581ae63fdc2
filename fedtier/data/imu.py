"""The source ``imu``: shoulder exercises under a smartwatch, prepared by ``prepare_imu.py``.

Ten subjects, two wrists, seven exercises, accelerometer and gyroscope at 50 Hz. The data are those
of the ``seglearn`` package (BSD licence; Burns et al., arXiv:1802.01489).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedtier.data.fields import Fields
from fedtier.data.npz_file import open_npz
from fedtier.data.recording import Recording
from fedtier.data.selection import Selection
from fedtier.errors import ConfigError

FORMAT = 1
SIDES = ("left", "right")  # numbers 0 and 1 of the data
SUBJECT_MAX = 10_000
COMMON_KEYS = ("path",)
FILE = "imu.npz"
DIRECTORY_VARIABLE = "FEDTIER_DATA"
DIRECTORY = ".cache"  # of the working directory, as `make` has it


def prepare_command(out: Path | str = f"{DIRECTORY}/{FILE}") -> str:
    """The command that downloads the recordings and writes ``out``."""
    return (
        "pip download --no-deps -d .cache seglearn==1.2.5 && python -m fedtier.data.prepare_imu "
        f".cache/seglearn-1.2.5-py3-none-any.whl {out}"
    )


def sample_member(index: int) -> str:
    """The name in the file under which recording ``index`` has its samples."""
    return f"samples_{index:03d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wrists:
    path: Path
    places: tuple[tuple[int, int], ...]  # subject and side
    key: str

    @property
    def selection(self) -> Selection:
        return Selection(
            origins=tuple(f"{_name(subject)}/{SIDES[side]}" for subject, side in self.places),
            paths=(self.path,),
            traits=frozenset({"subject", "side"}),
            key=self.key,
        )


def device_selection(spec: Mapping[str, object], *, node: str, where: str) -> Selection:
    """One wrist: keys ``path``, ``subject`` and ``side`` (0 left, 1 right).

    Raises:
        ConfigError: If a key is unknown or missing, or a value out of its range.
    """
    return _device_table(spec, where=where).selection


def held_out_selection(spec: Mapping[str, object], *, where: str) -> Selection:
    """Both wrists of whole subjects: keys ``path`` and ``subjects``.

    Raises:
        ConfigError: If a key is unknown or missing, or a value out of its range.
    """
    return _held_out_table(spec, where=where).selection


def device_recordings(
    spec: Mapping[str, object], *, node: str, where: str
) -> tuple[Recording, ...]:
    """The recordings of one wrist.

    Raises:
        ConfigError: As ``device_selection``; if the file is missing or damaged, or has no such
            wrist.
    """
    table = _device_table(spec, where=where)
    ((subject, side),) = table.places
    chosen = _read(table.path, lambda s, w: s == subject and w == side, where=where)
    if not chosen:
        raise ConfigError(
            f"{where}: subject {subject} with side {side} has no recording in {table.path}. Name "
            "another."
        )
    return chosen


def held_out_recordings(
    spec: Mapping[str, object], *, where: str
) -> tuple[tuple[str, tuple[Recording, ...]], ...]:
    """The recordings of whole subjects, each wrist a group.

    Raises:
        ConfigError: As ``held_out_selection``; if the file is missing or damaged, or lacks one of
            the subjects.
    """
    table = _held_out_table(spec, where=where)
    subjects = dict.fromkeys(subject for subject, _ in table.places)
    recordings = _read(table.path, lambda s, _: s in subjects, where=where)
    groups: list[tuple[str, tuple[Recording, ...]]] = []
    for subject in subjects:
        theirs = [r for r in recordings if r.traits["subject"] == subject]
        if not theirs:
            raise ConfigError(
                f"{where}: subjects names {subject}, who has no recording in {table.path}. Name "
                "others."
            )
        for side, name in enumerate(SIDES):
            wrist = tuple(r for r in theirs if r.traits["side"] == side)
            if wrist:
                groups.append((f"{_name(subject)}-{name}", wrist))
    return tuple(groups)


def _device_table(spec: Mapping[str, object], *, where: str) -> _Wrists:
    fields = Fields(spec, where=where)
    path = _path(fields)
    subject = fields.integer("subject", low=0, high=SUBJECT_MAX)
    side = fields.integer("side", low=0, high=len(SIDES) - 1)
    fields.finish()
    return _Wrists(path=path, places=((subject, side),), key="subject")


def _held_out_table(spec: Mapping[str, object], *, where: str) -> _Wrists:
    fields = Fields(spec, where=where)
    path = _path(fields)
    subjects = fields.integers("subjects", low=0, high=SUBJECT_MAX)
    fields.finish()
    places = tuple((subject, side) for subject in subjects for side in range(len(SIDES)))
    return _Wrists(path=path, places=places, key="subjects")


def _name(subject: int) -> str:
    return f"subject-{subject}"


def _path(fields: Fields) -> Path:
    """``path`` if it was given, else the file's name in the directory of downloaded data."""
    directory = os.environ.get(DIRECTORY_VARIABLE) or DIRECTORY
    return fields.path("path", default=f"{directory}/{FILE}").absolute()


def _missing(path: Path, *, where: str) -> ConfigError:
    return ConfigError(
        f"{where}: {path} does not exist. Give the file's place as path, or set "
        f"{DIRECTORY_VARIABLE} to the directory that holds {FILE} (without either it is "
        f"{DIRECTORY}/{FILE} of the working directory). Prepare it once: {prepare_command(path)}"
    )


def _read(path: Path, chosen: Callable[[int, int], bool], *, where: str) -> tuple[Recording, ...]:
    """Read only the recordings asked for; the file holds each as an array of its own."""
    if not path.is_file():
        raise _missing(path, where=where)
    otherwise = f"Prepare it again: {prepare_command(path)}"
    with open_npz(path, where=where, otherwise=otherwise) as file:
        if int(file["format"]) != FORMAT:
            raise ConfigError(
                f"{where}: {path} has format {int(file['format'])}, this version reads "
                f"{FORMAT}. {otherwise}"
            )
        recordings = []
        facts = zip(file["subject"], file["side"], file["label"], strict=True)
        for index, (subject, side, label) in enumerate(facts):
            if chosen(int(subject), int(side)):
                samples = file[sample_member(index)]
                recording = Recording(
                    key=f"{index:03d}",
                    samples=samples,
                    labels=np.full(len(samples), label, dtype=np.int64),
                    traits={"subject": int(subject), "side": int(side)},
                )
                recordings.append(recording)
        return tuple(recordings)
