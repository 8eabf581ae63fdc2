"""One directory for every node of a testbed, ready to be copied to its machine as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from fedtier.config.board import load_board
from fedtier.config.federation import Federation
from fedtier.errors import ConfigError
from fedtier.ids import NodeId
from fedtier.render.cell_broker import render_broker_files
from fedtier.render.node_files import needs_artefact, render_node_files
from fedtier.render.unit_files import render_unit, unit_name
from fedtier.topology import Node

FEDERATION_FILE = "federation.toml"
ARTEFACT_DIR = "artefact"

Files = Mapping[str, bytes]
"""Paths below a node's directory to what the files hold."""


def render_node_directories(
    federation: Federation,
    *,
    federation_text: str,
    artefact: Files | None = None,
    state_dir: PurePosixPath,
) -> dict[NodeId, dict[str, bytes]]:
    """Write what every node needs on its own machine.

    Nothing in it is of the machine that writes it: paths of the federation file stay as they are,
    relative to the node's own file.

    Args:
        federation: What the nodes are members of, its paths as they were written.
        federation_text: The federation file itself, for the cloud.
        artefact: The files of a compiled model that goes along, for the nodes that begin with it;
            None = the federation file's ``artefact`` is found on their machines.
        state_dir: Below it each node keeps its state, on its own machine.

    Returns:
        Each node's files, in name order.

    Raises:
        ConfigError: If the brokers cannot be on machines of their own, a parent has no broker
            address, ``state_dir`` is relative, or a board profile cannot be.
    """
    if federation.broker_kind == "embedded":
        raise ConfigError(
            f'{federation.where}: [broker] kind = "embedded" is for demos and tests: that broker '
            'listens on its own machine only. Use "mosquitto", or "url" for brokers that run '
            "already."
        )
    if not state_dir.is_absolute():
        raise ConfigError(
            f"--state-dir {state_dir} is relative. Give the absolute path of a directory on the "
            "nodes' machines, such as /var/lib/fedtier."
        )
    texts = render_node_files(
        federation,
        directory=Path(state_dir),
        federation_file=Path(FEDERATION_FILE),
        artefact=None if artefact is None else ARTEFACT_DIR,
    )
    directories: dict[NodeId, dict[str, bytes]] = {}
    for node in federation.topology:
        files = {f"{node.role}.toml": texts[node.id]}
        files[unit_name(node.role)] = render_unit(
            node.role,
            state_dir=state_dir,
            memory_budget_mib=_budget_mib(federation, node),
            serves=federation.inference is not None,
        )
        if not node.is_device and federation.broker_kind == "mosquitto":
            files |= render_broker_files(federation, node.id)
        if node.is_cloud:
            files[FEDERATION_FILE] = federation_text
        directories[node.id] = {name: text.encode() for name, text in files.items()}
        if artefact is not None and needs_artefact(node, federation):
            directories[node.id] |= {
                f"{ARTEFACT_DIR}/{name}": content for name, content in artefact.items()
            }
    return directories


def _budget_mib(federation: Federation, node: Node) -> int | None:
    board = federation.nodes[node.id].board
    if board is None or not node.is_device:
        return None
    return load_board(board).board.memory_budget_mib
