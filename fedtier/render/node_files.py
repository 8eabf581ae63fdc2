"""Write a node file for every node of a federation; demo and test beds start nodes from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedtier.budget import Budget
from fedtier.config.board import BoardTable, load_board
from fedtier.config.federation import Federation
from fedtier.config.files import PACKAGE
from fedtier.config.schema import keys_of
from fedtier.config.toml_text import write_document
from fedtier.errors import ConfigError
from fedtier.ids import NodeId
from fedtier.topology import Node


def render_node_files(
    federation: Federation,
    *,
    directory: Path,
    federation_file: Path,
    broker_urls: Mapping[NodeId, str] | None = None,
    broker_kind: str | None = None,
    start_brokers: bool = False,
    run_dir: Path | None = None,
    artefact: str | None = None,
) -> dict[NodeId, str]:
    """Write the node files of a federation, as TOML text.

    Args:
        federation: What the nodes are members of.
        directory: Below it each node keeps its state, in ``state/<node>``.
        federation_file: The federation file, for the cloud.
        broker_urls: The broker of each parent's cell; the file's own ``broker_url``, and how nodes
            log in there, hold where this names none.
        broker_kind: What the brokers are; the file's own kind by default.
        start_brokers: Whether gateways and the cloud start their brokers themselves.
        run_dir: Where the cloud writes a run; ``directory/"run"`` by default.
        artefact: The compiled model, if another than the federation file names.

    Returns:
        Each node's file, in name order.

    Raises:
        ConfigError: If a parent has no broker address, or a board profile cannot be.
    """
    kind = broker_kind or federation.broker_kind
    given = broker_urls or {}
    texts: dict[NodeId, str] = {}
    for node in federation.topology:
        section: dict[str, object] = {
            "id": node.id,
            "role": node.role,
            "federation": federation.id,
            "tier": node.tier,
            "state_dir": str(directory / "state" / node.id),
            "part_bytes": federation.plan.part_bytes,
        }
        if needs_artefact(node, federation):
            section["artefact"] = artefact or federation.artefact
        if node.is_device:
            section["weight"] = "examples" if federation.weights == "examples" else 1
        if node.is_cloud:
            section["run_dir"] = str(run_dir or directory / "run")
            section["federation_file"] = str(federation_file)
        tables = {
            "node": section,
            "parent": _parent(node, federation, given),
            "budget": _budget(node, federation),
            "cell": _cell(node, federation, given, kind=kind, start=start_brokers),
            "data": federation.nodes[node.id].data,
            "inference": _inference(federation, node),
            "board": _board(federation, node),
        }
        texts[node.id] = write_document(
            tables, comment=f"{node.id} of federation {federation.id}; written by fedtier."
        )
    return texts


def needs_artefact(node: Node, federation: Federation) -> bool:
    """Whether a node's own file names the artefact; other devices have it from their parent.

    The cloud is where it comes from; one that is installed with fedtier is there already; and a
    device that is weighed by its examples counts them with it before it is heard.
    """
    if node.is_cloud:
        return True
    there = federation.weights == "examples" or federation.artefact.startswith(PACKAGE)
    return node.is_device and there


def _parent(node: Node, federation: Federation, given: Mapping[NodeId, str]) -> dict[str, object]:
    if node.parent is None:
        return {}
    return {"id": node.parent, **_connect(node.id, node.parent, federation, given)}


def _budget(node: Node, federation: Federation) -> dict[str, object]:
    if node.parent is None:
        return {}
    cell = federation.topology.cell(node.parent)
    budget = federation.links[cell.link - 1].budget
    if budget == Budget():
        return {}
    return {**dataclasses.asdict(budget), "members": len(cell.children)}


def _connect(
    node: NodeId, cell: NodeId, federation: Federation, given: Mapping[NodeId, str]
) -> dict[str, str]:
    """How a node reaches the broker of a cell and logs in there."""
    if cell in given:  # another broker than the file's, so the file's passwords are not for it
        return {"url": given[cell]}
    url = federation.nodes[cell].broker_url
    if url is None:
        raise _without_address(
            [p for p in federation.without_broker() if p not in given], federation
        )
    return {"url": url, **federation.nodes[node].access.towards(url)}


def _without_address(cells: Sequence[NodeId], federation: Federation) -> ConfigError:
    one = len(cells) == 1
    named = cells[0] if one else f"{{{','.join(cells)}}}"
    return ConfigError(
        f"{federation.where}: {', '.join(map(repr, cells))} {'has' if one else 'have'} no broker "
        f"address. Give {'it' if one else 'each'} a [[node]] with id and broker_url, such as "
        f'id = "{named}" and broker_url = "mqtt://{cells[0] if one else "$1.local"}:1883"; and '
        'where brokers run already say so: [broker] kind = "url".'
    )


def _cell(
    node: Node, federation: Federation, given: Mapping[NodeId, str], *, kind: str, start: bool
) -> dict[str, object]:
    if node.is_device:
        return {}
    # Where all are wanted the key is left out, so that a member added by hand is waited for too.
    # The cloud reads the federation file itself.
    partial = not node.is_cloud and federation.plan.quorum[node.tier - 1] != "all"
    return {
        **_connect(node.id, node.id, federation, given),
        "kind": kind,
        "start": start and kind != "url",
        "members": federation.topology.children(node.id),
        "members_min": federation.members_needed(node.id) if partial else None,
    }


def _inference(federation: Federation, node: Node) -> dict[str, object]:
    table = federation.inference
    if table is None or not node.is_device:
        return {}
    return {"precision": table.precision, "endpoint": table.endpoint}


def _board(federation: Federation, node: Node) -> dict[str, object]:
    board = federation.nodes[node.id].board
    if board is None:
        return {}
    table = load_board(board).board
    if not node.is_device:
        return {"nice": table.nice}  # the rest is for training
    return {key.name: getattr(table, key.name) for key in keys_of(BoardTable)}
