"""A node's own broker: started with the node and stopped with it, where its file asks for that."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from fedtier.broker.process import BrokerProcess
from fedtier.broker.settings import BrokerSettings
from fedtier.config.node_file import NodeFile
from fedtier.errors import EXIT_UNREACHABLE
from fedtier.transport.address import parse_url

_LOOK_S = 0.5  # between two looks at the process

Ended = Callable[[int, str], None]
"""Told, on a thread of its own, the exit code a node must end with and why."""


def own_broker(file: NodeFile, stack: ExitStack, ended: Ended) -> None:
    """Start the broker of a node's cell if its file says ``start = true``, and watch it.

    Args:
        file: The node's file; ``[cell]`` says where the broker listens and of what kind it is.
        stack: Stops the broker when it is closed.
        ended: Called once, with 69 and the log's last lines, if the broker ends before that.

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
    broker = BrokerProcess.start(settings, Path(file.node.state_dir) / "broker")
    stack.enter_context(broker)
    stopping = threading.Event()
    watch = threading.Thread(
        target=_watch, args=(broker, stopping, ended), name="own broker", daemon=True
    )
    watch.start()
    # Undone in reverse: the watch is over before the broker is stopped.
    stack.callback(watch.join)
    stack.callback(stopping.set)


def _watch(broker: BrokerProcess, stopping: threading.Event, ended: Ended) -> None:
    while not stopping.wait(_LOOK_S):
        if broker.exit_code is not None:
            ended(
                EXIT_UNREACHABLE,
                f"this node's own {broker.settings.kind} broker at {broker.url} ended with code "
                f"{broker.exit_code}: {broker.log_tail()} (log: {broker.log_path}). "
                "Start the node again.",
            )
            return
