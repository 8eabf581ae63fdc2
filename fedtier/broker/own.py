"""A node's own broker: started with the node and stopped with it, where its file asks for that."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from fedtier.broker.process import BrokerProcess
from fedtier.broker.settings import BrokerSettings
from fedtier.config.node_file import NodeFile
from fedtier.transport.address import parse_url


def own_broker(file: NodeFile, stack: ExitStack) -> None:
    """Start the broker of a node's cell if its file says ``start = true``.

    Args:
        file: The node's file; ``[cell]`` says where the broker listens and of what kind it is.
        stack: Stops the broker when it is closed.

    Raises:
        ConfigError: If the port is taken, or the broker is not installed.
        LinkError: If it runs but does not answer in time.
    """
    cell = file.cell
    if cell is None or not cell.start or cell.kind == "url":
        return
    address = parse_url(cell.url, where=f"[cell] of {file.id}")
    settings = BrokerSettings(
        kind=cell.kind,
        host=address.host,
        port=address.port,
        part_bytes=file.node.part_bytes,
        children=max(1, len(cell.members)),
    )
    stack.enter_context(BrokerProcess.start(settings, Path(file.node.state_dir) / "broker"))
