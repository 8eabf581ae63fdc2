"""Read a configuration file; paths in it are relative to it, whoever reads it and from where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fedtier.errors import ConfigError

FILE_BYTES_MAX = 4 * 1024 * 1024
PACKAGE = "package:"


def read_text(path: Path) -> str:
    """Read a configuration file.

    Raises:
        ConfigError: If it cannot be read, is larger than 4 MiB, or is not UTF-8.
    """
    try:
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise ConfigError(
                f"{path}: {size} bytes; a configuration file has at most {FILE_BYTES_MAX}. Is "
                "this the right file?"
            )
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}. Check the path and its permissions."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: is not UTF-8 text (byte {error.start}). Is this the right file?"
        ) from error


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
