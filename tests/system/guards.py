"""How the brokers of a test bed know who comes: by certificate or by password, under the ACL."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from fedtier.ids import FederationId, NodeId
from fedtier.render.broker_files import OPERATOR, ListenerTls, acl_file, password_file
from fedtier.topology import Topology
from fedtier.transport.base import Credentials

Certify = Callable[[str], tuple[Path, Path, Path]]


class Guard(Protocol):
    """One way of knowing people."""

    def listener(self) -> dict[str, Any]:
        """What ``BrokerSettings`` needs beside the ACL."""

    def credentials(self, user: str) -> Credentials:
        """What a client of this name brings."""


class Certificates:
    """TLS, and a certificate for every node: its CN is the user name."""

    def __init__(self, certify: Certify) -> None:
        self._certify = certify

    def listener(self) -> dict[str, Any]:
        ca, certificate, key = map(str, self._certify("broker"))
        return {"tls": ListenerTls(ca_file=ca, certificate_file=certificate, key_file=key)}

    def credentials(self, user: str) -> Credentials:
        ca, certificate, key = self._certify(user)
        return Credentials(ca_file=ca, certificate_file=certificate, key_file=key)


class Passwords:
    """A password for every node, and one password file for all brokers."""

    def __init__(self, directory: Path, users: Iterable[str]) -> None:
        self._directory = directory
        directory.mkdir(parents=True)
        entries = {user: (f"pw of {user}", user.encode()[:12].ljust(12)) for user in users}
        for user, (password, _) in entries.items():
            (directory / user).write_text(f"{password}\n", encoding="utf-8")
        self._file = directory / "passwords"
        self._file.write_text(password_file(entries), encoding="utf-8")
        self._file.chmod(0o600)

    def listener(self) -> dict[str, Any]:
        return {"password_file": self._file}

    def credentials(self, user: str) -> Credentials:
        return Credentials(username=user, password_file=self._directory / user)


def guard_of(kind: str, directory: Path, topology: Topology, certify: Certify | None) -> Guard:
    """A guard that knows every node, and the operator."""
    if kind == "certificates":
        assert certify is not None
        return Certificates(certify)
    return Passwords(directory, [OPERATOR, *(node.id for node in topology)])


def acl_of(federation: FederationId, parent: NodeId, cloud: NodeId) -> str:
    """The rights on one parent's broker."""
    return acl_file(federation=federation, cells=[parent], cloud=cloud if parent == cloud else None)


def with_credentials(text: str, credentials: Credentials) -> str:
    """A node file that says how its node logs in; the user name is its id by default."""
    keys = {
        "password_file": credentials.password_file,
        "cafile": credentials.ca_file,
        "certfile": credentials.certificate_file,
        "keyfile": credentials.key_file,
    }
    lines = "".join(f'{key} = "{path}"\n' for key, path in keys.items() if path is not None)
    for table in ("[parent]\n", "[cell]\n"):
        text = text.replace(table, table + lines)
    return text
