"""The files of the mosquitto beside a parent, as a federation file describes it."""

from __future__ import annotations

from fedtier.config.access import Admission
from fedtier.config.federation import Federation
from fedtier.ids import NodeId
from fedtier.render.broker_files import ListenerTls, acl_file, mosquitto_conf
from fedtier.transport.address import parse_url

CONF_FILE = "mosquitto.conf"
ACL_FILE = "mosquitto.acl"
# Where Debian's mosquitto looks, and may read.
CONF_PATH = "/etc/mosquitto/conf.d/fedtier.conf"
ACL_PATH = "/etc/mosquitto/fedtier.acl"
PASSWORDS_PATH = "/etc/mosquitto/fedtier.passwd"
CERTIFICATES = ListenerTls(
    ca_file="/etc/mosquitto/certs/ca.crt",
    certificate_file="/etc/mosquitto/certs/broker.crt",
    key_file="/etc/mosquitto/certs/broker.key",
)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def admission(federation: Federation, parent: NodeId) -> Admission:
    """What the broker of a parent's cell asks of its clients."""
    return federation.nodes[parent].access.admission(_url(federation, parent))


def cells_beside(federation: Federation, parent: NodeId) -> tuple[NodeId, ...]:
    """The parents whose cells are on this parent's broker, itself among them, in name order."""
    url = _url(federation, parent)
    return tuple(p for p in federation.topology.parents() if federation.nodes[p].broker_url == url)


def users(federation: Federation, parent: NodeId) -> tuple[NodeId, ...]:
    """Who logs in at a parent's broker: parents first, then children, each once."""
    cells = cells_beside(federation, parent)
    children = [child for cell in cells for child in federation.topology.children(cell)]
    return tuple(dict.fromkeys([*cells, *children]))


def render_broker_files(federation: Federation, parent: NodeId) -> dict[str, str]:
    """Write mosquitto.conf and, where clients say who they are, the ACL; each by its name.

    The broker listens on every address of its machine, unless its own is the loopback. Limits
    follow from the size of its cell and of a part.

    Args:
        federation: Brokers of kind ``mosquitto``, each parent with its address.
        parent: Whose broker.
    """
    address = parse_url(_url(federation, parent))
    cells = cells_beside(federation, parent)
    topology = federation.topology
    asked = admission(federation, parent)
    conf = mosquitto_conf(
        host=address.host if address.host in _LOOPBACK else None,
        port=address.port,
        part_bytes=federation.plan.part_bytes,
        children=max(len(topology.children(cell)) for cell in cells),
        allow_anonymous=asked == "none",
        acl_file=None if asked == "none" else ACL_PATH,
        password_file=PASSWORDS_PATH if asked == "password" else None,
        tls=_listener_tls(asked) if address.tls else None,
    )
    of = f"The broker of {' and '.join(cells)} in federation {federation.id}; written by fedtier."
    files = {CONF_FILE: f"# {of}\n# Goes to {CONF_PATH}.\n\n{conf}"}
    if asked != "none":
        cloud = topology.cloud if topology.cloud in cells else None
        rights = acl_file(federation=federation.id, cells=cells, cloud=cloud)
        files[ACL_FILE] = f"# {of}\n# Goes to {ACL_PATH}.\n\n{rights}"
    return files


def _url(federation: Federation, parent: NodeId) -> str:
    url = federation.nodes[parent].broker_url
    assert url is not None, f"{parent} has no broker address"
    return url


def _listener_tls(asked: Admission) -> ListenerTls:
    if asked == "certificate":
        return CERTIFICATES
    return ListenerTls(
        certificate_file=CERTIFICATES.certificate_file, key_file=CERTIFICATES.key_file
    )
