"""An application on a device's board, which asks for predictions."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from edge_agent.inference.endpoint import connect


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
