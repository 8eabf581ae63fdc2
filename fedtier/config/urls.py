"""Broker addresses: ``mqtt://host:port``, or ``mqtts://`` over TLS."""

from __future__ import annotations

from urllib.parse import urlsplit

SCHEMES = ("mqtt", "mqtts")
_REMEDY = "Write mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS."


def url_complaint(value: object) -> str:
    """What is wrong with a broker's address; empty if nothing is."""
    if not isinstance(value, str):
        return ""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        return f"{error}. {_REMEDY}"
    if parts.scheme not in SCHEMES:
        return f"the scheme is {parts.scheme!r}; allowed are mqtt and mqtts. {_REMEDY}"
    if not parts.hostname or port == 0:
        return f"host or port is missing. {_REMEDY}"
    if parts.username is not None or parts.password is not None:
        return "an address holds no name and no password: use username and password_file."
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        return f"nothing may follow the port. {_REMEDY}"
    return ""
