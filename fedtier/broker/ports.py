"""Ports: a free one, and who is in the way when one is not."""

from __future__ import annotations

import errno
import socket

from fedtier.errors import ConfigError


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on now; somebody may still be faster, so be ready to try again."""
    with socket.socket(_family(host), socket.SOCK_STREAM) as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
        return port


def check_port(host: str, port: int) -> None:
    """Make sure a broker could listen here.

    Raises:
        ConfigError: If the port is taken, reserved for root, or the address is not this machine's.
    """
    with socket.socket(_family(host), socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
            sock.listen(1)
        except OSError as error:
            raise ConfigError(_explain(host, port, error)) from error


def _explain(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        advice = (
            f"port {port} on {host} is in use. `ss -ltnp 'sport = :{port}'` names who holds it; "
            "stop that process or choose another port."
        )
        if port == 1883:
            advice += " It may be the mosquitto service: `systemctl disable --now mosquitto`."
        return advice
    if error.errno == errno.EACCES:
        return f"port {port} is reserved for root. Choose one of 1024 to 65535."
    return f"cannot listen on {host}, port {port}: {error.strerror}. Is it an address of this host?"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
