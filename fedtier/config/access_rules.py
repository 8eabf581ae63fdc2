"""The rules of logging in that span several tables of a federation file."""

from __future__ import annotations

from collections.abc import Mapping

from fedtier.config.access import TLS_KEYS, Access, Admission, check_pairs
from fedtier.config.federation_tables import BrokerTable
from fedtier.config.particulars import NodeExtras, Particulars
from fedtier.config.place import Place
from fedtier.errors import ConfigError
from fedtier.ids import NodeId
from fedtier.topology import Topology
from fedtier.transport.address import parse_url

_IN_WORDS: Mapping[Admission, str] = {
    "certificate": "a certificate",
    "password": "a password",
    "none": "nothing",
}


def check_access(
    broker: BrokerTable,
    particulars: Mapping[NodeId, Particulars],
    extras: Mapping[NodeId, NodeExtras],
    topology: Topology,
    *,
    place: Place,
) -> None:
    """Check how the nodes log in.

    Args:
        broker: The table ``[broker]``.
        particulars: What ``[[node]]`` says.
        extras: What holds for each node, both laid over one another.
        topology: The tree.
        place: The file.

    Raises:
        ConfigError: For keys that come in pairs and do not here, keys of TLS where no broker has
            it, keys that brokers of this kind do not know, or a broker whose clients log in
            differently.
    """
    urls = {
        node.id: [url for cell in (node.id, node.parent) if (url := _url(extras, cell))]
        for node in topology
    }
    every_url = [url for node in topology if (url := extras[node.id].broker_url)]
    _kind_knows_them(broker, Access.of(broker), place.below("broker"))
    _tls_is_used(Access.of(broker), every_url, place.below("broker"))
    for node_id, entry in particulars.items():
        if entry.access.given:
            _kind_knows_them(broker, entry.access, entry.place, node=node_id)
            _tls_is_used(entry.access, urls[node_id], entry.place)
    for node_id, extra in extras.items():
        own = particulars.get(node_id)
        stated = own.place if own is not None and own.access.given else place.below("broker")
        check_pairs(extra.access, stated)
    if broker.kind == "mosquitto":
        _clients_log_in_alike(extras, topology, place.below("broker"))


def _url(extras: Mapping[NodeId, NodeExtras], cell: NodeId | None) -> str | None:
    return None if cell is None else extras[cell].broker_url


def _kind_knows_them(
    broker: BrokerTable, access: Access, place: Place, *, node: NodeId | None = None
) -> None:
    if broker.kind == "embedded" and access.given:
        raise place.refuse(
            next(iter(access.given)),
            'is given, but [broker] kind = "embedded" knows no passwords or certificates. Use kind '
            '= "mosquitto", or remove it.',
        )
    if broker.kind == "mosquitto" and access.username not in (None, node):
        raise place.refuse(
            "username",
            f'= "{access.username}": with kind = "mosquitto" every node logs in under its own id, '
            'by which its broker knows its rights. Remove username, or use kind = "url" for '
            "brokers with names of their own.",
        )


def _tls_is_used(access: Access, urls: list[str], place: Place) -> None:
    if not urls or any(parse_url(url).tls for url in urls):
        return
    for name in TLS_KEYS:
        if name in access.given:
            raise place.refuse(
                name,
                f'is for TLS, but no broker it is for is encrypted, such as "{urls[0]}". Write '
                f"mqtts:// in broker_url, or remove {name}.",
            )


def _clients_log_in_alike(
    extras: Mapping[NodeId, NodeExtras], topology: Topology, place: Place
) -> None:
    """One broker asks the same of all its clients."""
    first: dict[str, NodeId] = {}
    for cell in topology.cells():
        url = extras[cell.parent].broker_url
        if url is None:
            continue
        for client in (cell.parent, *cell.children):
            known = first.setdefault(url, client)
            has, others = (extras[n].access.admission(url) for n in (client, known))
            if has != others:
                raise ConfigError(
                    f"{place}: {known!r} logs in at {url} with {_IN_WORDS[others]} and {client!r} "
                    f"with {_IN_WORDS[has]}; one broker asks the same of all. Give them the same "
                    "keys, here or in their [[node]]."
                )
