"""The serving process: answers the application with one model, while the agent trains the next.

It serves what the agent's store holds when it starts. Then the agent gives it candidates to open
and score beside that, and says which of them to serve. It may be killed at any moment: the agent
keeps the socket on which applications wait, and starts another.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_agent.graph_frames import receive, send
from edge_agent.inference.open_model import OpenModel
from edge_agent.inference.servable import Servable
from edge_agent.inference.server import Server
from edge_agent.inference.store import read_served
from fedtier.artefact.open_graph import Array
from fedtier.artefact.session import ONNXRUNTIME_ERRORS, is_out_of_memory
from fedtier.data.examples import Examples
from fedtier.errors import ConfigError, TrainingError
from fedtier.runtime import logs

log = logging.getLogger(__name__)

_NO_MEMORY = "there is no memory to open or score the model"
_LEFT_S = 8.0  # for what is being done when the agent is gone; it is started again meanwhile


def main(control: int, listener: int, state_dir: Path, *, threads: int) -> None:
    """Serve until the agent is gone.

    Args:
        control: The socket to the agent.
        listener: The socket where applications connect.
        state_dir: The agent's, for what was accepted.
        threads: Of each graph.
    """
    logs.set_up()
    threading.Thread(target=_end_without_agent, args=[control], daemon=True).start()
    stored = _stored(state_dir, threads=threads)
    server = Server(socket.socket(fileno=listener), stored)
    with socket.socket(fileno=control) as link, suppress(ConnectionError):
        candidate: OpenModel | None = None
        send(link, {"up": True}, {})
        while (frame := receive(link)) is not None:
            document, arrays = frame
            match document["do"]:
                case "consider":
                    candidate = None  # its memory first
                    answer, candidate = _consider(document["model"], arrays, threads=threads)
                case "score":
                    answer = {} if server.model is None else _score(server.model, arrays)
                case "serve":
                    wanted = document["version"]
                    if candidate is not None and candidate.servable.version == wanted:
                        server.model = candidate
                    candidate = None
                    answer = {"served": _version(server.model) == wanted}
                case _:
                    raise AssertionError(document)
            send(link, answer, {})
    server.end()


def _end_without_agent(control: int) -> None:
    """Free the listening socket in time, however long what is being done takes."""
    agent = select.poll()
    agent.register(control, 0)  # that it hangs up is always told
    agent.poll()
    time.sleep(_LEFT_S)
    os._exit(0)


def _stored(state_dir: Path, *, threads: int) -> OpenModel | None:
    try:
        found = read_served(state_dir)
        return None if found is None else OpenModel(found.servable, threads=threads)
    except ConfigError as error:
        log.warning("stored model passed over", extra={"reason": str(error)})
        return None


def _consider(
    document: Mapping[str, Any], arrays: Mapping[str, Array], *, threads: int
) -> tuple[dict[str, Any], OpenModel | None]:
    """Open a candidate and score it on the device's hold-out."""
    examples = {name: arrays[name] for name in ("x", "y")}
    try:
        model = OpenModel(
            Servable.from_record(
                document, {name: a for name, a in arrays.items() if name not in examples}
            ),
            threads=threads,
        )
    except ConfigError as error:
        return {"failed": str(error)}, None
    except MemoryError:
        return {"unjudged": _NO_MEMORY}, None
    answer = _score(model, examples)
    return answer, model if "score" in answer else None


def _score(model: OpenModel, arrays: Mapping[str, Array]) -> dict[str, Any]:
    try:
        return {"score": asdict(model.score(Examples(x=arrays["x"], y=arrays["y"])))}
    except TrainingError as error:
        return {"failed": str(error)}
    except (MemoryError, *ONNXRUNTIME_ERRORS) as error:
        if is_out_of_memory(error):
            return {"unjudged": _NO_MEMORY}
        return {"failed": f"onnxruntime cannot run the model: {error}"}


def _version(model: OpenModel | None) -> Mapping[str, Any] | None:
    return None if model is None else model.servable.version


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), threads=int(sys.argv[4]))
