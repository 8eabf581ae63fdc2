"""Models to serve, and an application that asks for them."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.inference.endpoint import connect
from edge_agent.inference.servable import Servable
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.find import find_artefact
from fedtier.artefact.manifest import INFER_FILE
from fedtier.ids import RunId
from fedtier.model.layout import model_digest

SHAPE = (6, 128)


def bare_imu() -> Artefact:
    """The demo's model without its preprocessing."""
    shipped = find_artefact("package:imu")
    manifest = dataclasses.replace(shipped.manifest, preprocessing=(), augmentation=())
    return Artefact.verify(manifest, shipped.files, where="bare")


def servable(artefact: Artefact, *, round: int = 0, scale: float = 1.0, **changes: Any) -> Servable:
    """The initial model times a number, as the one that opens a round."""
    w = (artefact.initial() * np.float32(scale)).astype(np.float32)
    made = Servable(
        run=RunId(1), round=round, model=model_digest(artefact.layout.digest, w),
        precision="float32", manifest=artefact.manifest, fitted=artefact.manifest.preprocessing,
        graph=artefact.files[INFER_FILE], parameters=w.tobytes(),
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def examples(count: int, *, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(count, *shape)).astype(np.float32)


class Application:
    """One connection: a line out, a line in."""

    def __init__(self, endpoint: str | Path) -> None:
        self.link = connect(str(endpoint))
        self.link.settimeout(60)
        self._answers = self.link.makefile("rb")

    def ask_line(self, line: bytes) -> dict[str, Any]:
        self.link.sendall(line + b"\n")
        answer = self._answers.readline()
        if not answer:
            raise ConnectionError("the connection was closed")
        found: dict[str, Any] = json.loads(answer)
        return found

    def ask(self, **request: Any) -> dict[str, Any]:
        return self.ask_line(json.dumps(request).encode())

    def close(self) -> None:
        self._answers.close()
        self.link.close()

    def __enter__(self) -> Application:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Looping(threading.Thread):
    """An application that asks again and again, and keeps count."""

    def __init__(self, endpoint: str | Path, *, example: Any) -> None:
        super().__init__(daemon=True)
        self._endpoint = endpoint
        self._request = json.dumps({"examples": [example]}).encode()
        self._ending = threading.Event()
        self.answers = 0
        self.errors: list[str] = []
        self.versions: list[tuple[int, str]] = []  # round and digest, whenever it changed

    def run(self) -> None:
        try:
            with Application(self._endpoint) as application:
                while not self._ending.is_set():
                    answer = application.ask_line(self._request)
                    if "error" in answer or len(answer["predictions"]) != 1:
                        self.errors.append(str(answer))
                        continue
                    self.answers += 1
                    version = (answer["model"]["round"], answer["model"]["digest"])
                    if self.versions[-1:] != [version]:
                        self.versions.append(version)
        except (OSError, ValueError) as error:
            self.errors.append(repr(error))

    def end(self) -> None:
        self._ending.set()
        self.join(60)


def listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(16)
    return listener
