"""The one place of this room that reads files."""

from __future__ import annotations

from pathlib import Path

from fedtier.errors import ConfigError

FILE_BYTES_MAX = 4 * 1024 * 1024


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
