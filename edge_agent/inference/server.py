"""Answers the application: a thread for each connection, one line in, one line out.

The model in use is one reference. Who answers a request takes it once and keeps it until the answer
is made, so a swap is one assignment: no request waits for it, and none sees two models.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, BinaryIO

from edge_agent.inference.open_model import OpenModel
from edge_agent.inference.requests import parse_request, to_line
from fedtier.artefact.session import ONNXRUNTIME_ERRORS
from fedtier.errors import WireError
from fedtier.limits import PREDICT_BYTES_MAX, PREDICT_CONNECTIONS_MAX

log = logging.getLogger(__name__)

_DISCARD_BYTES = 64 * 1024
_END_S = 5.0  # within which answers that are being made are still given


class Server:
    """Serves one model at a time on a socket that listens.

    Attributes:
        model: What is served; None until a model was accepted. Assign to swap.
    """

    def __init__(self, listener: socket.socket, model: OpenModel | None) -> None:
        """Begin to answer.

        Args:
            listener: Where applications connect.
            model: What is served from the first answer on.
        """
        self.model = model
        self._listener = listener
        self._room = threading.Semaphore(PREDICT_CONNECTIONS_MAX)
        self._open: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()  # of what is open
        threading.Thread(target=self._accept, daemon=True).start()

    def end(self) -> None:
        """Take no more requests, and give the answers that are being made."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._lock:
            answering = list(self._open.items())
        for link, _ in answering:
            with suppress(OSError):  # it has gone
                link.shutdown(socket.SHUT_RD)
        until_s = time.monotonic() + _END_S
        for _, thread in answering:
            thread.join(max(0.0, until_s - time.monotonic()))

    def _accept(self) -> None:
        while True:
            self._room.acquire()
            try:
                link, _ = self._listener.accept()
            except ConnectionError:
                self._room.release()
                continue
            except OSError:
                return  # it listens no more
            thread = threading.Thread(target=self._converse, args=[link], daemon=True)
            with self._lock:
                self._open[link] = thread
            thread.start()

    def _converse(self, link: socket.socket) -> None:
        try:
            with link, link.makefile("rb") as lines, suppress(OSError):
                while line := lines.readline(PREDICT_BYTES_MAX + 1):
                    link.sendall(to_line(self._answer(line, lines)))
        finally:
            with self._lock:
                del self._open[link]
            self._room.release()

    def _answer(self, line: bytes, rest: BinaryIO) -> Mapping[str, Any]:
        model = self.model
        try:
            if not line.endswith(b"\n"):
                _discard_line(rest)
            request = parse_request(line.rstrip(b"\r\n"))
            if model is None:
                raise WireError("no model has been accepted yet: ask again after a round")
            return model.answer(request)
        except WireError as error:
            return {"error": str(error)}
        except ONNXRUNTIME_ERRORS as error:
            log.warning("request failed", extra={"reason": str(error)})
            return {"error": f"onnxruntime cannot run the model: {error}"}
        except MemoryError:
            log.warning("request failed", extra={"reason": "no memory"})
            return {"error": "there is no memory for this request: ask with fewer examples"}


def _discard_line(rest: BinaryIO) -> None:
    """Read on to the end of a line that is too long, holding little of it."""
    while (piece := rest.readline(_DISCARD_BYTES)) and not piece.endswith(b"\n"):
        pass
