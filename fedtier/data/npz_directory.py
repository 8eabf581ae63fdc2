"""The source ``npz-directory``: one ``.npz`` for each device, with arrays ``x`` and ``y``.

``x`` has one row for each label in ``y``: examples, or readings in time to be cut into windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedtier.data.fields import Fields
from fedtier.data.npz_file import open_npz
from fedtier.data.recording import Recording
from fedtier.errors import ConfigError


def device_recordings(
    spec: Mapping[str, object], *, node: str, where: str
) -> tuple[Recording, ...]:
    """The file ``<device>.npz`` of the directory ``path``; ``device`` is the node's id by default.

    Raises:
        ConfigError: If the file is missing or does not hold ``x`` and ``y``.
    """
    fields = Fields(spec, where=where)
    directory = fields.path("path")
    device = fields.text("device", default=node)
    fields.finish()
    return (_read(directory / f"{device}.npz", where=where),)


def held_out_recordings(
    spec: Mapping[str, object], *, where: str
) -> tuple[tuple[str, tuple[Recording, ...]], ...]:
    """The files of ``devices``, each a group of its own.

    Raises:
        ConfigError: If a file is missing or does not hold ``x`` and ``y``.
    """
    fields = Fields(spec, where=where)
    directory = fields.path("path")
    devices = fields.texts("devices")
    fields.finish()
    return tuple((name, (_read(directory / f"{name}.npz", where=where),)) for name in devices)


def _read(path: Path, *, where: str) -> Recording:
    if not path.is_file():
        raise ConfigError(
            f"{where}: {path} does not exist. Write it with numpy.savez({str(path)!r}, x=..., "
            "y=...): a row of x for each whole number in y."
        )
    otherwise = "It must hold the plain arrays x and y."
    with open_npz(path, where=where, otherwise=otherwise) as file:
        x, y = np.asarray(file["x"]), np.asarray(file["y"])
    if y.ndim != 1 or y.dtype.kind not in "iu" or x.ndim < 2 or len(x) != len(y):
        raise ConfigError(
            f"{where}: {path} has x of shape {x.shape} and y of shape {y.shape}, {y.dtype}. Give "
            "x one row of at least one value for each whole number in y."
        )
    if x.dtype.kind not in "fiu":
        raise ConfigError(f"{where}: {path} has x of {x.dtype}. Give real numbers.")
    return Recording(key=path.stem, samples=x, labels=y.astype(np.int64))
