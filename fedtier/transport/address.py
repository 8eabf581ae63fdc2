"""A broker's URL: ``mqtt://host[:port]`` or, with TLS, ``mqtts://host[:port]``."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from fedtier.errors import ConfigError

PORT_PLAIN = 1883
PORT_TLS = 8883
_PORTS = {"mqtt": PORT_PLAIN, "mqtts": PORT_TLS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a broker listens."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mqtt{'s' if self.tls else ''}://{host}:{self.port}"


def parse_url(url: str, *, where: str = "broker URL") -> Address:
    """Take a broker's URL apart.

    Args:
        url: ``mqtt://host[:port]`` (1883) or ``mqtts://host[:port]`` (8883).
        where: What to name in the error: the file and key the URL came from.

    Raises:
        ConfigError: If it is not such a URL, or carries a path or a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")  # what the resolver will do with it
    except ValueError as error:
        raise ConfigError(f"{where}: {url!r} is not a URL: {error}. {_HINT}") from error
    if parts.scheme not in _PORTS:
        raise ConfigError(f"{where}: {url!r} has the scheme {parts.scheme!r}. {_HINT}")
    if not parts.hostname or port == 0:
        raise ConfigError(f"{where}: {url!r} names no host or port. {_HINT}")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            f"{where}: the URL carries a user or a password. Name them as username and "
            "password_file instead, so that no secret stands in a configuration file."
        )
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigError(f"{where}: {url!r} has something behind the port. {_HINT}")
    return Address(
        host=parts.hostname,
        port=port if port is not None else _PORTS[parts.scheme],
        tls=parts.scheme == "mqtts",
    )


_HINT = "Write mqtt://host:1883, or mqtts://host:8883 for TLS."
