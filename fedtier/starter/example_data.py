"""Made-up recordings of a wrist's accelerometer: three activities, a different person a device.

The same numbers on every machine: they come from fixed seeds and are rounded to 0.001 g.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

COLUMNS = ("ax", "ay", "az")
LABEL_COLUMN = "activity"

_ROWS_PER_S = 25
_ROWS = (360, 480)  # of a recording, from and to
_NOISE_G = 0.08
_PIECES = 4  # of each recording, in the one file of a device


@dataclass(frozen=True, slots=True)
class _Activity:
    name: str
    swing_g: float
    swings_per_s: float


_ACTIVITIES = (
    _Activity("still", 0.0, 0.0),
    _Activity("walking", 0.35, 1.0),
    _Activity("running", 0.9, 1.5),
)
LABELS = tuple(activity.name for activity in _ACTIVITIES)

Rows = npt.NDArray[np.float64]


def csv_files(device: int) -> dict[str, bytes]:
    """A file for each activity: a line of column names, then a line for each row."""
    files: dict[str, bytes] = {}
    for name, rows in zip(LABELS, _recordings(device), strict=True):
        lines = [",".join(("time", *COLUMNS, LABEL_COLUMN))]
        for number, row in enumerate(rows):
            values = ",".join(f"{value:.3f}" for value in row)
            lines.append(f"{number / _ROWS_PER_S:.2f},{values},{name}")
        files[f"{name}.csv"] = ("\n".join(lines) + "\n").encode()
    return files


def npz_file(device: int) -> bytes:
    """The same rows in one file, by turns of every activity: ``x`` (rows, 3), ``y`` (rows,)."""
    pieces = [np.array_split(rows, _PIECES) for rows in _recordings(device)]
    turns: Sequence[tuple[int, Rows]] = [
        (label, pieces[label][turn]) for turn in range(_PIECES) for label in range(len(LABELS))
    ]
    out = io.BytesIO()
    np.savez(
        out,
        x=np.concatenate([rows for _, rows in turns]).astype(np.float32),
        y=np.concatenate([np.full(len(rows), label) for label, rows in turns]),
    )
    return out.getvalue()


def _recordings(device: int) -> list[Rows]:
    """Rows of each activity in g, shape (rows, 3), on the wrist of one person."""
    rng = np.random.default_rng([1, device])
    down, along = _direction(rng), _direction(rng)
    strength, pace = rng.uniform(0.85, 1.15, size=2)
    found: list[Rows] = []
    for activity in _ACTIVITIES:
        count = int(rng.integers(*_ROWS))
        turns = activity.swings_per_s * pace * np.arange(count) / _ROWS_PER_S + rng.uniform()
        swing = strength * activity.swing_g * np.sin(2 * np.pi * turns)
        noise = rng.normal(scale=_NOISE_G, size=(count, len(COLUMNS)))
        found.append(np.round(down + swing[:, None] * along + noise, 3))
    return found


def _direction(rng: np.random.Generator) -> Rows:
    vector = rng.normal(size=len(COLUMNS))
    length: Rows = vector / np.linalg.norm(vector)
    return length
