"""The graph process: opens one graph at a time with onnxruntime and runs it, until it is not asked.

It holds no state but the open graph, so it may be killed at any moment and started again. It takes
as little as it can of this project, and of everything else: its memory is what a board must spare.
"""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from edge_agent.graph_frames import Frame, receive, send
from fedtier.artefact.open_graph import OpenGraph, Slot
from fedtier.artefact.session import make_session
from fedtier.errors import ConfigError


def main(descriptor: int, keep_s: float) -> None:
    """Serve the agent until it is gone, or asks nothing for a while.

    Args:
        descriptor: The socket to the agent.
        keep_s: How long to wait for its next question.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to a whole group; the agent ends this
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as link, suppress(ConnectionError):
        link.settimeout(keep_s)
        graph: OpenGraph | None = None
        while (frame := _next(link)) is not None:
            document, arrays = frame
            if "open" in document:
                graph = None  # its memory first
                try:
                    graph = make_session(arrays["graph"].tobytes(), threads=document["threads"])
                except ConfigError as error:
                    send(link, {"refused": str(error)}, {})
                    continue
                slots = {"inputs": graph.get_inputs(), "outputs": graph.get_outputs()}
                send(link, {name: _told(its) for name, its in slots.items()}, {})
                continue
            assert graph is not None, "a graph is opened before it is run"
            results = graph.run(document["run"], arrays)
            answer = dict(zip(document["run"], results, strict=True))
            send(link, {"cpu_ms": round(1e3 * time.process_time())}, answer)


def _next(link: socket.socket) -> Frame | None:
    with suppress(TimeoutError):
        return receive(link)
    return None


def _told(slots: Sequence[Slot]) -> list[tuple[str, list[int]]]:
    return [(slot.name, list(slot.shape)) for slot in slots]


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
