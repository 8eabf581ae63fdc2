"""What to do with the directories of a federation's nodes: what goes where, what starts it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from textwrap import fill, indent

from fedtier.config.federation import Federation
from fedtier.ids import NodeId
from fedtier.render.cell_broker import (
    ACL_FILE,
    ACL_PATH,
    CERTIFICATES,
    CONF_FILE,
    CONF_PATH,
    PASSWORDS_PATH,
    admission,
    users,
)
from fedtier.render.node_directories import Files
from fedtier.render.unit_files import STATE_DIR
from fedtier.transport.address import parse_url
from fedtier.words import counted

README_FILE = "README.txt"

_NODE_DIR = "/etc/fedtier"
_PASSWORDS_FILE = "mosquitto.passwd"
_WIDTH = 96

_ANYBODY = (
    "These brokers let in whoever reaches them, as [broker] of the federation file names neither "
    "password_file nor certfile: {cells}. That is for a first try in a closed network."
)
_PASSWORDS = (
    "Every node has a password of its own, and a broker knows its parent and that one's children. "
    "In this directory:"
)
_CERTIFICATES = (
    "The brokers of {cells} know a node by its certificate, whose common name is the node's id. "
    "Certificates are yours to issue."
)
_TLS = (
    "The brokers of {cells} speak TLS: on each machine a certificate for the host of its "
    f"broker_url, {CERTIFICATES.certificate_file} with {CERTIFICATES.key_file}; and where clients "
    f"have certificates {CERTIFICATES.ca_file}, which signed them."
)
_RUNNING = (
    'The brokers run already ([broker] kind = "url"), with users of their own; what a node must '
    "be allowed there is in firmware_configs/brokers/cell.acl."
)
_SECRETS = (
    "Node files name these files, each on the node's own machine; a relative path begins at "
    f"{_NODE_DIR}: {{paths}}"
)
_ONE_RUN = (
    "The cloud trains once and ends; what it made is in {state_dir}/run. For another run "
    "write OPTIONS=--seed 2 --out {state_dir}/runs/2 into /etc/fedtier/cloud.env and start it "
    "again. After a power cut start it again as it was, and it goes on."
)


def render_readme(
    federation: Federation, directories: Mapping[NodeId, Files], *, state_dir: PurePosixPath
) -> str:
    """Write the commands that bring a federation's nodes up, in their order.

    Args:
        federation: As :func:`fedtier.render.node_directories.render_node_directories` took it.
        directories: What that gave.
        state_dir: What that was given.
    """
    elsewhere = not state_dir.is_relative_to(STATE_DIR)  # systemd makes what is its own
    state = [f"sudo install -d -o fedtier -g fedtier -m 750 {state_dir}"] if elsewhere else []
    sections = {
        "Directories": _commands(*list_directories(federation, directories)),
        "Who may join": "\n\n".join(_logins(federation)),
        "Copy, from this directory": _commands(
            *_for_each(directories),
            f"  scp -rp $node/. $node:{_NODE_DIR}/; done",
        ),
        "On every machine: let fedtier alone read it, and make it a service": _commands(
            f"sudo chgrp -R fedtier {_NODE_DIR} && sudo chmod -R g+rX,o= {_NODE_DIR}",
            f"sudo install -m 644 {_NODE_DIR}/fedtier-*.service /etc/systemd/system/",
            "sudo systemctl daemon-reload",
            *state,
        ),
    }
    if federation.broker_kind == "mosquitto":
        sections["On the machine of every gateway and of the cloud: the broker"] = _broker(
            federation
        )
    sections["Start: gateways, devices, then the cloud"] = _start(
        state_dir, broker=federation.broker_kind == "mosquitto"
    )
    title = f"Federation {federation.id}: {len(directories)} nodes. Written by fedtier."
    intro = _prose(
        "Every machine has a user fedtier and the program in /opt/fedtier/venv, as "
        "firmware_configs/README.md says, and ssh finds it by its node's id."
    )
    numbered = [
        f"{number}. {heading}\n\n{text}"
        for number, (heading, text) in enumerate(sections.items(), start=1)
    ]
    return "\n\n".join([title, intro, *numbered]) + "\n"


def list_directories(federation: Federation, directories: Mapping[NodeId, Files]) -> list[str]:
    """A line for all nodes of a role: how many they are, and which files each has."""
    alike: dict[str, list[NodeId]] = {}
    for node in directories:
        alike.setdefault(federation.topology.node(node).role, []).append(node)
    rows = [
        (_count(role, alike[role]), ", ".join(_top(directories[alike[role][0]])))
        for role in ("cloud", "gateway", "agent")
        if role in alike
    ]
    width = max(len(count) for count, _ in rows)
    return [f"{count:{width}}  {names}" for count, names in rows]


def _count(role: str, nodes: Sequence[NodeId]) -> str:
    noun = {"cloud": "cloud", "gateway": "gateway", "agent": "device"}[role]
    return counted(len(nodes), noun)


def _top(files: Files) -> list[str]:
    """The names in a node's directory; a folder once, with a slash."""
    names = (name.partition("/") for name in files)
    return list(dict.fromkeys(head + slash for head, slash, _ in names))


def _logins(federation: Federation) -> list[str]:
    paths = sorted(
        {
            path
            for extras in federation.nodes.values()
            for name, path in extras.access.given.items()
            if name != "username"
        }
    )
    secrets = [_prose(_SECRETS.format(paths=", ".join(paths)))] if paths else []
    if federation.broker_kind != "mosquitto":
        return [_prose(_RUNNING), *secrets]
    asked: dict[str, list[NodeId]] = {}
    for parent in federation.topology.parents():
        asked.setdefault(admission(federation, parent), []).append(parent)
    blocks = []
    if cells := asked.get("password"):
        blocks += [_prose(_PASSWORDS), _passwords(federation, cells)]
    if cells := asked.get("certificate"):
        blocks.append(_prose(_CERTIFICATES.format(cells=", ".join(cells))))
    if cells := asked.get("none"):
        blocks.append(_prose(_ANYBODY.format(cells=", ".join(cells))))
    if cells := [p for p in federation.topology.parents() if _has_tls(federation, p)]:
        blocks.append(_prose(_TLS.format(cells=", ".join(cells))))
    return blocks + secrets


def _has_tls(federation: Federation, parent: NodeId) -> bool:
    url = federation.nodes[parent].broker_url
    return url is not None and parse_url(url).tls


def _passwords(federation: Federation, cells: Sequence[NodeId]) -> str:
    lines = [
        "(umask 077",
        *_for_each(node.id for node in federation.topology),
        "  [ -e $node/password ] || openssl rand -hex 16 > $node/password; done",
    ]
    for cell in cells:
        lines += [
            f"for user in {' '.join(users(federation, cell))}; do",
            f'  echo "$user:$(cat $user/password)"; done > {cell}/{_PASSWORDS_FILE}',
        ]
    lines.append(f"for file in */{_PASSWORDS_FILE}; do mosquitto_passwd -U $file; done)")
    return _commands(*lines)


def _for_each(nodes: Iterable[NodeId]) -> list[str]:
    """The lines that begin a loop over nodes by name: a directory of another tree may be there."""
    names = fill(" ".join(nodes), _WIDTH - 12, break_long_words=False, break_on_hyphens=False)
    return f"for node in {names}; do".replace("\n", " \\\n    ").splitlines()


def _broker(federation: Federation) -> str:
    asked = {admission(federation, parent) for parent in federation.topology.parents()}
    lines = [f"sudo install -m 644 {_NODE_DIR}/{CONF_FILE} {CONF_PATH}"]
    if asked != {"none"}:
        lines.append(f"sudo install -m 600 -o mosquitto {_NODE_DIR}/{ACL_FILE} {ACL_PATH}")
    if "password" in asked:
        lines.append(
            f"sudo install -m 600 -o mosquitto {_NODE_DIR}/{_PASSWORDS_FILE} {PASSWORDS_PATH}"
        )
    return _commands(*lines, "sudo systemctl restart mosquitto")


def _start(state_dir: PurePosixPath, *, broker: bool) -> str:
    journal = "journalctl -fu 'fedtier-*'" + broker * " -u mosquitto"
    services = _commands(
        "sudo systemctl enable --now fedtier-gateway     # on a gateway",
        "sudo systemctl enable --now fedtier-agent       # on a device",
        "sudo systemctl start fedtier-cloud              # on the cloud's machine: one run",
        f"{journal:<48}# what they say",
    )
    return f"{services}\n\n{_prose(_ONE_RUN.format(state_dir=state_dir))}"


def _prose(text: str) -> str:
    return fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _commands(*lines: str) -> str:
    return indent("\n".join(lines), "    ")
