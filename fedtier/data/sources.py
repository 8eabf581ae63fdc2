"""Data sources by name, and what their tables select.

A source is a module or object with the two functions of ``Source``. Those of the table are built
in; any other name is looked up, only then, among the entry points of group ``fedtier.data``.

A source may also have

- ``device_selection(spec, *, node, where)`` and ``held_out_selection(spec, *, where)``: check the
  table alone, without opening a file, and return a ``Selection``; tables of a source without them
  are checked when its data are read;
- ``COMMON_KEYS``: the keys that mean the same in ``[data]`` and in ``[evaluation]``, which
  therefore takes them from there where it lacks them; ``("path",)`` by default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Protocol, cast

from fedtier.data.fields import Fields
from fedtier.data.plug_ins import SOURCES, load_plug_in
from fedtier.data.recording import Recording
from fedtier.data.selection import Selection
from fedtier.data.split import HOLDOUT_PERCENT_DEFAULT, HOLDOUT_PERCENT_MAX

BUILT_IN = {
    "imu": "fedtier.data.imu",
    "fashion-mnist": "fedtier.data.fashion",
    "npz-directory": "fedtier.data.npz_directory",
    "csv-directory": "fedtier.data.csv_directory",
}

_COMMON_KEYS_DEFAULT = ("path",)


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


def find_source(name: str, *, where: str) -> Source:
    """The source of a name.

    Raises:
        ConfigError: If there is none, or what its entry point names is no source.
    """
    if name in BUILT_IN:
        return cast(Source, import_module(BUILT_IN[name]))
    source = load_plug_in(
        name,
        group=SOURCES,
        built_in=BUILT_IN,
        needs=("device_recordings", "held_out_recordings"),
        what=f"{where}: source {name!r}",
    )
    return cast(Source, source)


def common_keys(name: str, *, where: str) -> Sequence[str]:
    """The keys that ``[evaluation]`` takes from ``[data]`` if both name this source.

    Raises:
        ConfigError: If there is no source of that name.
    """
    keys: Sequence[str] = getattr(
        find_source(name, where=where), "COMMON_KEYS", _COMMON_KEYS_DEFAULT
    )
    return keys


def open_device(spec: Mapping[str, object], *, where: str) -> tuple[Source, dict[str, object], int]:
    """Of a device's table the source, what is left for it, and the hold-out in percent.

    Raises:
        ConfigError: If there is no such source, or ``holdout_percent`` cannot be.
    """
    fields = Fields(spec, where=where)
    name = fields.text("source")
    holdout_percent = fields.integer(
        "holdout_percent", low=1, high=HOLDOUT_PERCENT_MAX, default=HOLDOUT_PERCENT_DEFAULT
    )
    inner = {k: v for k, v in spec.items() if k not in ("source", "holdout_percent")}
    return find_source(name, where=where), inner, holdout_percent


def open_held_out(spec: Mapping[str, object], *, where: str) -> tuple[Source, dict[str, object]]:
    """Of a held-out table the source and what is left for it.

    Raises:
        ConfigError: If there is no such source.
    """
    name = Fields(spec, where=where).text("source")
    inner = {k: v for k, v in spec.items() if k != "source"}
    return find_source(name, where=where), inner


def device_selection(spec: Mapping[str, object], *, node: str, where: str) -> Selection:
    """Check a device's table and say what it selects; no file is opened.

    Raises:
        ConfigError: If the table cannot be.
    """
    source, inner, _ = open_device(spec, where=where)
    select: Callable[..., Selection] | None = getattr(source, "device_selection", None)
    return Selection() if select is None else select(inner, node=node, where=where)


def held_out_selection(spec: Mapping[str, object], *, where: str) -> Selection:
    """Check a held-out table and say what it selects; no file is opened.

    Raises:
        ConfigError: If the table cannot be.
    """
    source, inner = open_held_out(spec, where=where)
    select: Callable[..., Selection] | None = getattr(source, "held_out_selection", None)
    return Selection() if select is None else select(inner, where=where)
