"""Paths in a file are relative to that file, whoever reads it and from wherever."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

PACKAGE = "package:"


def resolve(text: str, directory: Path) -> str:
    """The absolute form of a path; ``package:NAME``, ``~`` and absolute paths stay as written."""
    if text.startswith((PACKAGE, "~")):
        return text
    return str(directory / text)


def resolve_spec(spec: Mapping[str, object], directory: Path) -> dict[str, object]:
    """A data specification whose ``path`` is absolute."""
    resolved = dict(spec)
    path = resolved.get("path")
    if isinstance(path, str):
        resolved["path"] = resolve(path, directory)
    return resolved
