"""One process per state directory: two would overwrite each other's durable points.

The lock is the kernel's (``flock``), on a file that stays where it is: the kernel releases it
however the process ends, so nothing has to be cleared away after a crash. The file holds the
process id of who took it last, for the message to a second one; it decides nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedtier.errors import ConfigError
from fedtier.storage.durable import storage_error

LOCK_NAME = "lock"
_PID_BYTES_MAX = 20


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold a state directory alone, for as long as the context lasts; made if missing.

    Raises:
        ConfigError: If another process holds it; names its process id.
        StorageError: If it cannot be made, written or locked.
    """
    place = directory / LOCK_NAME
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Not inheritable, as every descriptor that Python opens: a broker that this node starts
        # does not hold it.
        file = os.open(place, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise storage_error(place, "written", error) from error
    try:
        _take(file, place)
        yield
    finally:
        os.close(file)


def _take(file: int, place: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(
            f"{place.parent} is in use by {_holder(file)}: two processes may not share a state "
            "directory. Stop that one, or give this node another state_dir ([node] of its file)."
        ) from None
    except OSError as error:
        raise storage_error(place, "locked", error) from error
    try:
        os.truncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
    except OSError as error:
        raise storage_error(place, "written", error) from error


def _holder(file: int) -> str:
    pid = os.pread(file, _PID_BYTES_MAX, 0).strip()
    return f"process {int(pid)}" if pid.isdigit() else "another process, which has just started"
