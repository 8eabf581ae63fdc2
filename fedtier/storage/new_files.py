"""Write many files for a person, and never over what that person may have changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from fedtier.errors import ConfigError
from fedtier.storage.durable import storage_error, write_durably


def write_new_files(directory: Path, files: Mapping[str, bytes], *, force: bool = False) -> int:
    """Write files below a directory; what is there with the same content is left alone.

    Args:
        directory: Made if missing.
        files: Paths below it to what they are to hold.
        force: Whether files with other content are replaced.

    Returns:
        How many files were written.

    Raises:
        ConfigError: If a file is there with other content, without ``force``; nothing is written
            then.
        StorageError: If the disk does not give or take one.
    """
    old = {name: _read(directory / name) for name in files}
    changed = [name for name, content in files.items() if old[name] != content]
    others = [name for name in changed if old[name] is not None]
    if others and not force:
        more = f" (and {len(others) - 1} more files)" if len(others) > 1 else ""
        raise ConfigError(
            f"{directory / others[0]}{more} is there with other content; nothing was written. Give "
            "--force to replace it, or choose another --out."
        )
    for name in changed:
        write_durably(directory / name, files[name])
    return len(changed)


def fresh_directory(parent: Path, name: str) -> Path:
    """The first of ``name-1``, ``name-2`` ... below a directory that is not there yet."""
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


def check_unused(directory: Path, *, called: str) -> None:
    """Refuse a directory in which there is something already.

    Args:
        directory: It need not be there.
        called: What to call it in the error.

    Raises:
        ConfigError: If it is not empty, or no directory.
        StorageError: If the disk does not give it.
    """
    try:
        used = directory.exists() and any(directory.iterdir())
    except NotADirectoryError:
        raise ConfigError(f"{called} is no directory. Choose a new one.") from None
    except OSError as error:
        raise storage_error(directory, "read", error) from error
    if used:
        raise ConfigError(f"{called} is not empty. Choose a new directory.")


def others_below(directory: Path, files: Iterable[str]) -> tuple[str, ...]:
    """The directories below a directory that hold none of these files, in name order.

    Raises:
        StorageError: If the disk does not give them.
    """
    own = {name.partition("/")[0] for name in files}
    try:
        return tuple(
            sorted(p.name for p in directory.iterdir() if p.is_dir() and p.name not in own)
        )
    except OSError as error:
        raise storage_error(directory, "read", error) from error


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error(path, "read", error) from error
