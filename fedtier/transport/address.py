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
    if wrong := url_complaint(url):
        raise ConfigError(f"{where} {wrong}")
    parts = urlsplit(url)
    assert parts.hostname is not None, "a URL without complaint names a host"
    return Address(
        host=parts.hostname,
        port=parts.port if parts.port is not None else _PORTS[parts.scheme],
        tls=parts.scheme == "mqtts",
    )


def url_complaint(url: str) -> str:
    """What is wrong with a broker's URL, to be read behind the name of its key; empty if nothing.

    A URL with ``@`` is refused first and not repeated: what stands before it may be a password.
    """
    if "@" in url:
        return (
            "holds a name or a password. Give them as username and password_file instead, so that "
            "no secret stands in a configuration file."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")  # what the resolver will do with it
    except ValueError as error:
        return f'= "{url}": {error}. {_REMEDY}'
    if parts.scheme not in _PORTS:
        return f'= "{url}": the scheme is {parts.scheme!r}; allowed are mqtt and mqtts. {_REMEDY}'
    if not parts.hostname or port == 0:
        return f'= "{url}": host or port is missing. {_REMEDY}'
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        return f'= "{url}": nothing may follow the port. {_REMEDY}'
    return ""


_REMEDY = "Write mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS."
