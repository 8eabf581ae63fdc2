"""The graph process: opens one graph at a time with onnxruntime and runs it, until it is not asked.

It holds no state but the open graph, so it may be killed at any moment and started again. It takes
as little as it can of this project, and of everything else: its memory is what a board must spare.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from edge_agent.give_back import give_back_code, give_back_heap
from edge_agent.graph_frames import Frame, receive, send
from edge_agent.graph_room import Room, ToldArray
from fedtier.artefact.open_graph import OpenGraph, Slot
from fedtier.artefact.session import ONNXRUNTIME_ERRORS, is_out_of_memory, make_session
from fedtier.errors import ConfigError


def main(descriptor: int, keep_s: float) -> None:
    """Serve the agent until it is gone, or asks nothing for a while.

    Args:
        descriptor: The socket to the agent.
        keep_s: How long to wait for its next question.
    """
    with socket.socket(fileno=descriptor) as link, suppress(ConnectionError):
        link.settimeout(keep_s)
        graph: OpenGraph | None = None
        room: Room | None = None
        while (frame := _next(link)) is not None:
            document, arrays = frame
            if "open" in document:
                graph = room = None  # their memory first
                give_back_code("onnxruntime")  # steps and opening run different parts of it
                try:
                    graph = make_session(arrays["graph"].tobytes(), threads=document["threads"])
                except ConfigError as error:
                    memory = error.__cause__ is not None and is_out_of_memory(error.__cause__)
                    send(link, {"refused": str(error), "memory": memory}, {})
                    continue
                give_back_code("onnxruntime")
                give_back_heap()
                slots = {"inputs": _told(graph.get_inputs()), "outputs": _told(graph.get_outputs())}
                send(link, slots, {})
            elif "room" in document:
                room = None
                room = _received(link, document["room"])
            else:
                assert graph is not None, "a graph is opened before it is run"
                assert room is not None, "and has room"
                try:
                    _run(graph, room, document)
                except (MemoryError, *ONNXRUNTIME_ERRORS) as error:
                    failed = {"failed": str(error), "memory": is_out_of_memory(error)}
                    send(link, failed, {})
                    continue
                send(link, {"cpu_ms": round(1e3 * time.process_time())}, {})


def _run(graph: OpenGraph, room: Room, question: dict[str, Any]) -> None:
    """Run a graph as often as it is asked; see ``edge_agent.graph_process.Question``."""
    wanted, carried = question["run"], question["carried"]
    shared = {name: room.arrays[name] for name in question["shared"]}
    for turn in range(question["times"]):
        each = {name: np.asarray(room.arrays[name][turn]) for name in question["each"]}
        for name, result in zip(wanted, graph.run(wanted, shared | each), strict=True):
            if name in carried:
                shared[carried[name]] = result
            else:
                room.arrays[name][turn] = result
    for name, taken in carried.items():
        room.arrays[name][...] = shared[taken]


def _received(link: socket.socket, told: Sequence[ToldArray]) -> Room:
    _, (descriptor,), _, _ = socket.recv_fds(link, 4, 1)
    try:
        return Room(descriptor, told)
    finally:
        os.close(descriptor)


def _next(link: socket.socket) -> Frame | None:
    with suppress(TimeoutError):
        return receive(link)
    return None


def _told(slots: Sequence[Slot]) -> list[ToldArray]:
    return [(slot.name, list(slot.shape), slot.type) for slot in slots]


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
