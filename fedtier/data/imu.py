"""The source ``imu``: shoulder exercises under a smartwatch, prepared by ``prepare_imu.py``.

Ten subjects, two wrists, seven exercises, accelerometer and gyroscope at 50 Hz. The data are those
of the ``seglearn`` package (BSD licence; Burns et al., arXiv:1802.01489).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from fedtier.data.fields import Fields
from fedtier.data.npz_file import open_npz
from fedtier.data.recording import Recording
from fedtier.errors import ConfigError

FORMAT = 1
SIDES = ("left", "right")  # numbers 0 and 1 of the data
SUBJECT_MAX = 10_000
PREPARE = (
    "pip download --no-deps -d .cache seglearn==1.2.5 && python -m fedtier.data.prepare_imu "
    ".cache/seglearn-1.2.5-py3-none-any.whl .cache/imu.npz"
)


def sample_member(index: int) -> str:
    """The name in the file under which recording ``index`` has its samples."""
    return f"samples_{index:03d}"


def device_recordings(
    spec: Mapping[str, object], *, node: str, where: str
) -> tuple[Recording, ...]:
    """The recordings of one wrist: keys ``path``, ``subject`` and ``side`` (0 left, 1 right).

    Raises:
        ConfigError: If the file is missing or damaged, or has no such wrist.
    """
    fields = Fields(spec, where=where)
    path = _path(fields)
    subject = fields.integer("subject", low=0, high=SUBJECT_MAX)
    side = fields.integer("side", low=0, high=len(SIDES) - 1)
    fields.finish()
    chosen = _read(path, lambda s, w: s == subject and w == side, where=where)
    if not chosen:
        raise fields.error("subject", f"{subject} with side {side} has no recording in {path}")
    return chosen


def held_out_recordings(
    spec: Mapping[str, object], *, where: str
) -> tuple[tuple[str, tuple[Recording, ...]], ...]:
    """The recordings of whole subjects, each wrist a group: keys ``path`` and ``subjects``.

    Raises:
        ConfigError: If the file is missing or damaged, or lacks one of the subjects.
    """
    fields = Fields(spec, where=where)
    path = _path(fields)
    subjects = fields.integers("subjects", low=0, high=SUBJECT_MAX)
    fields.finish()
    recordings = _read(path, lambda s, _: s in subjects, where=where)
    groups: list[tuple[str, tuple[Recording, ...]]] = []
    for subject in subjects:
        theirs = [r for r in recordings if r.traits["subject"] == subject]
        if not theirs:
            raise fields.error("subjects", f"names {subject}, who has no recording in {path}")
        for side, name in enumerate(SIDES):
            wrist = tuple(r for r in theirs if r.traits["side"] == side)
            if wrist:
                groups.append((f"subject-{subject}-{name}", wrist))
    return tuple(groups)


def _path(fields: Fields) -> Path:
    path = fields.path("path", default=".cache/imu.npz")
    if not path.is_file():
        raise fields.error("path", f"{str(path)!r} does not exist. Prepare it once: {PREPARE}")
    return path


def _read(path: Path, chosen: Callable[[int, int], bool], *, where: str) -> tuple[Recording, ...]:
    """Read only the recordings asked for; the file holds each as an array of its own."""
    otherwise = f"Prepare it again: {PREPARE}"
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
