"""The address where the application asks: a Unix socket, or a port of this machine alone."""

from __future__ import annotations

import socket
import stat
from contextlib import suppress
from pathlib import Path

from fedtier.config.inference import SOCKET_BYTES_MAX, host_and_port, is_local_port
from fedtier.config.node_file import NodeFile
from fedtier.errors import ConfigError

_DEFAULT = "inference.sock"
_MODE = 0o660  # the agent's user and group may ask, nobody else
_TRY_S = 2.0


def endpoint_of(file: NodeFile) -> str:
    """Where a device's application asks, by its node file."""
    given = None if file.inference is None else file.inference.endpoint
    return given or str(Path(file.node.state_dir) / _DEFAULT)


def listen(endpoint: str, *, where: str, waiting: int) -> socket.socket:
    """Take an address; what an earlier boot left there is removed.

    Args:
        endpoint: A path, or 127.0.0.1:PORT.
        where: What to name in errors: the file and key.
        waiting: How many connections may wait to be accepted.

    Raises:
        ConfigError: If another program has it, or it cannot be had.
    """
    if is_local_port(endpoint):
        return _listen_on_port(endpoint, where=where, waiting=waiting)
    path = Path(endpoint)
    _check_path(path, where=where)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_served(path, where=where):
            raise ConfigError(f"{where} = {endpoint}: another program serves there. {_REMEDY}")
        with suppress(FileNotFoundError):
            path.unlink()
        listener.bind(endpoint)
        path.chmod(_MODE)
        listener.listen(waiting)
    except OSError as error:
        listener.close()
        raise ConfigError(f"{where} = {endpoint}: {error.strerror}. {_REMEDY}") from error
    except ConfigError:
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


def _listen_on_port(endpoint: str, *, where: str, waiting: int) -> socket.socket:
    host, port = host_and_port(endpoint)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=waiting)
    except OSError as error:
        raise ConfigError(f"{where} = {endpoint}: {error.strerror}. {_REMEDY}") from error


def _check_path(path: Path, *, where: str) -> None:
    length = len(str(path).encode())
    if length > SOCKET_BYTES_MAX:
        raise ConfigError(
            f"{where} = {path}: {length} bytes; the path of a Unix socket has at most "
            f"{SOCKET_BYTES_MAX}. {_REMEDY}"
        )


def _is_served(path: Path, *, where: str) -> bool:
    """Whether somebody answers there; a file that is no socket is never removed."""
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(kind):
        raise ConfigError(f"{where} = {path}: there is a file that is no socket. {_REMEDY}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(_TRY_S)
        return trial.connect_ex(str(path)) == 0


_REMEDY = "Give another endpoint: a shorter or free path, or 127.0.0.1:PORT."
