"""The address where the application asks: a Unix socket, or a port of this machine alone."""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fedtier.config.inference import SOCKET_BYTES_MAX, host_and_port, is_local_port
from fedtier.config.node_file import NodeFile
from fedtier.errors import ConfigError

_DEFAULT = "inference.sock"
_MODE = 0o660  # the agent's user and group may ask, nobody else
_TRY_S = 2.0
_LEFT_S = 10.0  # within which a serving process whose agent was killed has ended
_AGAIN_S = 0.2  # between two tries
_NOBODY = (errno.ECONNREFUSED, errno.ENOENT)
_BUSY = (0, errno.EAGAIN)  # EAGAIN: so many connections wait that there is no room for another


def endpoint_of(file: NodeFile) -> str:
    """Where a device's application asks, by its node file."""
    given = None if file.inference is None else file.inference.endpoint
    return given or str(Path(file.node.state_dir) / _DEFAULT)


@contextmanager
def listening(
    endpoint: str, *, where: str, waiting: int, patience_s: float = _LEFT_S
) -> Iterator[socket.socket]:
    """Have an address, and leave nothing of it behind. Arguments and errors as ``listen``."""
    listener = listen(endpoint, where=where, waiting=waiting, patience_s=patience_s)
    own = _file_at(listener, endpoint)
    try:
        yield listener
    finally:
        if own is not None and _file_at(listener, endpoint) == own:
            Path(endpoint).unlink(missing_ok=True)
        listener.close()  # last: until then no other file has this one's number


def listen(
    endpoint: str, *, where: str, waiting: int, patience_s: float = _LEFT_S
) -> socket.socket:
    """Take an address; what an earlier boot left there is removed.

    Args:
        endpoint: A path, or 127.0.0.1:PORT.
        where: What to name in errors: the file and key.
        waiting: How many connections may wait to be accepted.
        patience_s: How long whoever serves there may take to go, >= 0.

    Raises:
        ConfigError: If another program has it, or it cannot be had.
    """
    until_s = time.monotonic() + patience_s
    while True:
        try:
            if is_local_port(endpoint):
                return _listen_on_port(endpoint, waiting=waiting)
            return _listen_on_path(Path(endpoint), where=where, waiting=waiting)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= until_s:
                raise ConfigError(f"{where} = {endpoint}: {error.strerror}. {_REMEDY}") from error
        time.sleep(_AGAIN_S)


def _listen_on_path(path: Path, *, where: str, waiting: int) -> socket.socket:
    _check_path(path, where=where)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_served(path, where=where):
            raise OSError(errno.EADDRINUSE, "another program serves there")
        with suppress(FileNotFoundError):
            path.unlink()
        listener.bind(str(path))
        path.chmod(_MODE)
        listener.listen(waiting)
    except (OSError, ConfigError):
        listener.close()
        raise
    return listener


def connect(endpoint: str) -> socket.socket:
    """Reach whoever serves there.

    Raises:
        OSError: If nobody does.
    """
    if is_local_port(endpoint):
        return socket.create_connection(host_and_port(endpoint), timeout=None)
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.connect(endpoint)
    except OSError:
        link.close()
        raise
    return link


def _listen_on_port(endpoint: str, *, waiting: int) -> socket.socket:
    host, port = host_and_port(endpoint)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=waiting)


def _file_at(listener: socket.socket, endpoint: str) -> tuple[int, int] | None:
    """Which file is there now, by device and number; None where there is none, and of a port."""
    if listener.family != socket.AF_UNIX:
        return None
    try:
        found = Path(endpoint).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_path(path: Path, *, where: str) -> None:
    length = len(str(path).encode())
    if length > SOCKET_BYTES_MAX:
        raise ConfigError(
            f"{where} = {path}: {length} bytes; the path of a Unix socket has at most "
            f"{SOCKET_BYTES_MAX}. {_REMEDY}"
        )


def _is_served(path: Path, *, where: str) -> bool:
    """Whether somebody listens there; a file that is no socket is never removed."""
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(kind):
        raise ConfigError(f"{where} = {path}: there is a file that is no socket. {_REMEDY}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(_TRY_S)
        found = trial.connect_ex(str(path))
    if found in _NOBODY:
        return False
    if found in _BUSY:
        return True
    raise OSError(found, os.strerror(found))


_REMEDY = "Give another endpoint: a shorter or free path, or 127.0.0.1:PORT."
