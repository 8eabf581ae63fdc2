"""How a node shows itself to brokers: names, and paths of secrets on its own machine."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from fedtier.config.federation_tables import BrokerTable, NodeTable
from fedtier.config.node_tables import ConnectSection
from fedtier.config.place import Place
from fedtier.transport.address import parse_url

ACCESS_KEYS = ("username", "password_file", "cafile", "certfile", "keyfile")
TLS_KEYS = ("cafile", "certfile", "keyfile")

Admission = Literal["certificate", "password", "none"]
"""What a broker asks of a client before it lets it in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The keys of one node, or what a table gives of them; paths stay as they were written."""

    username: str | None = None
    password_file: str | None = None
    cafile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None

    @classmethod
    def of(cls, table: BrokerTable | NodeTable) -> Access:
        """What a table of a federation file gives."""
        return cls(**{name: getattr(table, name) for name in ACCESS_KEYS})

    @property
    def given(self) -> dict[str, str]:
        """The keys that have a value."""
        values = {name: getattr(self, name) for name in ACCESS_KEYS}
        return {name: value for name, value in values.items() if value is not None}

    def over(self, other: Access) -> Access:
        """These keys, and those of ``other`` where these say nothing."""
        return dataclasses.replace(other, **self.given)

    def towards(self, url: str) -> dict[str, str]:
        """What of it is for the broker at ``url``: the keys of TLS for ``mqtts`` alone."""
        tls = parse_url(url).tls
        return {name: value for name, value in self.given.items() if tls or name not in TLS_KEYS}

    def admission(self, url: str) -> Admission:
        """What the broker at ``url`` can know this node by; a certificate goes before a password.

        mosquitto does not look at the password where the certificate names the user.
        """
        keys = self.towards(url)
        if "certfile" in keys:
            return "certificate"
        return "password" if "password_file" in keys else "none"


def check_pairs(access: Access | ConnectSection, place: Place) -> None:
    """Check the keys that come together.

    Raises:
        ConfigError: For a name without a password, or a certificate without its key.
    """
    if access.username is not None and access.password_file is None:
        raise place.refuse("username", "needs password_file beside it. Add it, or remove username.")
    if (access.certfile is None) != (access.keyfile is None):
        given, lacking = ("certfile", "keyfile") if access.certfile else ("keyfile", "certfile")
        raise place.refuse(given, f"needs {lacking} beside it. Add it, or remove {given}.")
