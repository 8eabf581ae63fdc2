"""The source ``npz-directory``: one ``.npz`` for each device, with arrays ``x`` and ``y``.

``x`` has one row for each target in ``y``: examples, or readings in time to be cut into windows.
Targets that are whole numbers are classes; floating-point ones are what a model is to come near to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fedtier.data.device_directory import (
    NamedDevice,
    held_out_devices,
    one_device,
    selection_of,
)
from fedtier.data.examples import Targets
from fedtier.data.fields import Fields
from fedtier.data.npz_file import open_npz
from fedtier.data.recording import Recording
from fedtier.data.selection import Selection
from fedtier.errors import ConfigError

COMMON_KEYS = ("path",)


def device_selection(spec: Mapping[str, object], *, node: str, where: str) -> Selection:
    """The file ``<device>.npz`` of the directory ``path``; ``device`` is the node's id by default.

    Raises:
        ConfigError: If a key is unknown or missing, or a value cannot be.
    """
    return _selection([_device_table(spec, node=node, where=where)], key="device")


def held_out_selection(spec: Mapping[str, object], *, where: str) -> Selection:
    """The files of ``devices``.

    Raises:
        ConfigError: If a key is unknown or missing, or a value cannot be.
    """
    return _selection(_held_out_table(spec, where=where), key="devices")


def device_recordings(
    spec: Mapping[str, object], *, node: str, where: str
) -> tuple[Recording, ...]:
    """The file of one device.

    Raises:
        ConfigError: As ``device_selection``; if the file is missing or does not hold ``x`` and
            ``y``.
    """
    return (_read(_device_table(spec, node=node, where=where), where=where),)


def held_out_recordings(
    spec: Mapping[str, object], *, where: str
) -> tuple[tuple[str, tuple[Recording, ...]], ...]:
    """The files of ``devices``, each a group of its own.

    Raises:
        ConfigError: As ``device_recordings``.
    """
    devices = _held_out_table(spec, where=where)
    return tuple((device.name, (_read(device, where=where),)) for device in devices)


def _device_table(spec: Mapping[str, object], *, node: str, where: str) -> NamedDevice:
    fields = Fields(spec, where=where)
    device = one_device(fields, node=node)
    fields.finish()
    return device


def _held_out_table(spec: Mapping[str, object], *, where: str) -> tuple[NamedDevice, ...]:
    fields = Fields(spec, where=where)
    devices = held_out_devices(fields)
    fields.finish()
    return devices


def _selection(devices: Sequence[NamedDevice], *, key: str) -> Selection:
    files = [device.file(".npz") for device in devices]
    return selection_of(devices, key=key, origins=files, paths=files)


def _read(device: NamedDevice, *, where: str) -> Recording:
    path = device.file(".npz")
    if not path.is_file():
        raise ConfigError(
            f"{where}: {path} does not exist. Write it with numpy.savez({str(path)!r}, x=..., "
            "y=...): a row of x for each target in y."
        )
    otherwise = "It must hold the plain arrays x and y."
    with open_npz(path, where=where, otherwise=otherwise) as file:
        x, y = np.asarray(file["x"]), np.asarray(file["y"])
    targets = _targets(y)
    if targets is None or x.ndim < 2 or len(x) != len(targets):
        raise ConfigError(
            f"{where}: {path} has x of shape {x.shape} and y of shape {y.shape}, {y.dtype}. Give "
            "x one row of at least one value for each whole number in y, or for each row of "
            "floating-point numbers in y."
        )
    if x.dtype.kind not in "fiu":
        raise ConfigError(f"{where}: {path} has x of {x.dtype}. Give real numbers.")
    return Recording(
        key=path.stem, samples=x, labels=targets, traits=device.traits, origin=str(path)
    )


def _targets(y: npt.NDArray[Any]) -> Targets | None:
    if y.ndim == 1 and y.dtype.kind in "iu":
        return y.astype(np.int64)
    if y.ndim >= 1 and y.dtype.kind == "f":
        return (y[:, np.newaxis] if y.ndim == 1 else y).astype(np.float32)
    return None
