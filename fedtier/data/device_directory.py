"""What the sources of one file or folder per device have in common: whose data, and their traits.

A device's table names one device, by default the node itself. On the held-out side ``devices`` is
a list of names, or a table that says of each what traits its recordings have::

    devices = ["anna", "bert"]
    devices = { anna-left = { side = 0 }, anna-right = { side = 1 } }

``traits`` holds for all of them; what stands beside a name is laid over it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedtier.data.fields import Fields
from fedtier.data.selection import Selection

TRAIT_MAX = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedDevice:
    """Whose data in a directory, and what is said of them."""

    directory: Path
    name: str
    traits: Mapping[str, int]

    @property
    def folder(self) -> Path:
        """The folder of its name."""
        return self.directory / self.name

    def file(self, ending: str) -> Path:
        """The file of its name with an ending such as ``.npz``."""
        return self.directory / f"{self.name}{ending}"


def one_device(fields: Fields, *, node: str) -> NamedDevice:
    """Read ``path``, ``device`` and ``traits`` of a device's table.

    Raises:
        ConfigError: If one of them cannot be.
    """
    return NamedDevice(
        directory=fields.path("path"),
        name=fields.text("device", default=node),
        traits=_traits(fields, "traits"),
    )


def held_out_devices(fields: Fields) -> tuple[NamedDevice, ...]:
    """Read ``path``, ``devices`` and ``traits`` of the held-out side's table.

    Raises:
        ConfigError: If one of them cannot be.
    """
    directory, common = fields.path("path"), _traits(fields, "traits")
    expected = "a list of names, or a table of names with the traits of each"
    own: dict[str, dict[str, int]]
    if fields.is_table("devices"):
        table = fields.table("devices", expected=expected)
        own = {name: _traits(table, name) for name in table.names}
    else:
        own = {name: {} for name in fields.texts("devices", expected=expected)}
    return tuple(
        NamedDevice(directory=directory, name=name, traits={**common, **traits})
        for name, traits in own.items()
    )


def selection_of(
    devices: Iterable[NamedDevice], *, key: str, origins: Iterable[Path], paths: Iterable[Path]
) -> Selection:
    """What is selected by naming these devices.

    Args:
        devices: One or more.
        key: The key that names them.
        origins: The place of each device's data.
        paths: What must be there of each.
    """
    traits = [frozenset(device.traits) for device in devices]
    return Selection(
        # A place may have two names, by links; its real one where it is on this machine.
        origins=tuple(os.path.realpath(origin) for origin in origins),
        paths=tuple(paths),
        traits=frozenset.intersection(*traits),
        key=key,
    )


def _traits(fields: Fields, key: str) -> dict[str, int]:
    return fields.named_integers(key, low=-TRAIT_MAX, high=TRAIT_MAX)
