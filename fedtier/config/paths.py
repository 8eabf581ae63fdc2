"""Paths in a file are relative to that file, whoever reads it and from wherever."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

PACKAGE = "package:"


def resolve(text: str, directory: Path) -> str:
    """The absolute form of a path; ``package:NAME``, ``~`` and absolute paths stay as written.

    What ``~`` is only the machine that uses the path can tell.
    """
    if text.startswith((PACKAGE, "~")):
        return text
    return str(directory / text)


def at_home(text: str, directory: Path) -> str:
    """The absolute form of a path on this very machine: as ``resolve``, with ``~`` expanded."""
    resolved = resolve(text, directory)
    return str(Path(resolved).expanduser()) if resolved.startswith("~") else resolved


def resolve_spec(spec: Mapping[str, object], directory: Path) -> dict[str, object]:
    """A data specification whose ``path`` is absolute."""
    resolved = dict(spec)
    path = resolved.get("path")
    if isinstance(path, str):
        resolved["path"] = resolve(path, directory)
    return resolved
