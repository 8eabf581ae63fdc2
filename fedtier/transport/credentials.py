"""Passwords and TLS contexts from the files that credentials name."""

from __future__ import annotations

import ssl
from pathlib import Path

from fedtier.errors import ConfigError
from fedtier.transport.base import Credentials


def read_password(credentials: Credentials, *, where: str) -> str | None:
    """Read the password file, if one is named.

    Raises:
        ConfigError: If it cannot be read, is empty, or holds more than one line.
    """
    if credentials.password_file is None:
        return None
    try:
        password = credentials.password_file.read_text(encoding="utf-8").strip("\r\n")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{where}: password_file {credentials.password_file} is not UTF-8 text: {error}. It "
            "must hold one line, the password."
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{where}: password_file {credentials.password_file} cannot be read: {error.strerror}. "
            "Write the password into it, on one line and readable by the user that runs this node "
            "alone, or correct the path."
        ) from error
    if not password or "\n" in password:
        raise ConfigError(
            f"{where}: password_file {credentials.password_file} must hold one line, the password"
        )
    return password


def tls_context(credentials: Credentials, *, where: str) -> ssl.SSLContext:
    """Make the context of a TLS connection, which always checks the broker's name.

    Raises:
        ConfigError: If a file cannot be used, or only one of certificate and key is named.
    """
    if (credentials.certificate_file is None) != (credentials.key_file is None):
        raise ConfigError(f"{where}: certfile and keyfile must be given together")
    keys = {
        "cafile": credentials.ca_file,
        "certfile": credentials.certificate_file,
        "keyfile": credentials.key_file,
    }
    given = {key: path for key, path in keys.items() if path is not None}
    for key, path in given.items():
        _check_readable(path, key=key, where=where)
    named = ", ".join(f'{key} = "{path}"' for key, path in given.items())
    try:
        context = ssl.create_default_context(cafile=credentials.ca_file)
        if credentials.certificate_file is not None:
            context.load_cert_chain(credentials.certificate_file, credentials.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{where}: cannot use {named}: {error}. Name readable PEM files, the key without a "
            "passphrase."
        ) from error
    return context


def _check_readable(path: Path, *, key: str, where: str) -> None:
    """Name the one file of several that is not there, which ``ssl`` does not."""
    try:
        path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{where}: {key} {path} cannot be read: {error.strerror}. Put it there, readable by "
            "the user that runs this node, or correct the path."
        ) from error
