"""Stands between clients and a broker and counts what passes, changing nothing unless it is cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self


class CountingProxy:
    """Listens on a port of its own; both directions of every connection are added up.

    While it is ``cut`` nothing passes and nothing ends, as on a path whose packets vanish: a new
    connection is never answered, and what was said comes through when the path is ``mended``, as
    TCP says it again. With ``cut_at_bytes_down`` it cuts itself once so many have come down.
    ``slow_down`` lets only so many bytes a second pass. ``watch`` sees all that passes, one piece
    at a time, and whether it goes to the broker.
    """

    def __init__(
        self,
        port: int,
        *,
        cut_at_bytes_down: int | None = None,
        watch: Callable[[bytes, bool], None] = lambda data, up: None,
    ) -> None:
        self._port = port
        self._cut_at_bytes_down = cut_at_bytes_down
        self._watch = watch
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"mqtt://127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self.bytes_up = self.bytes_down = 0  # from the clients; to the clients
        self._passing = threading.Event()
        self._passing.set()
        self._closing = threading.Event()
        self._rate_bytes_per_s: float | None = None  # in each direction of a connection
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    @property
    def is_cut(self) -> bool:
        """Whether nothing passes."""
        return not self._passing.is_set()

    def cut(self) -> None:
        """From now on nothing passes."""
        self._passing.clear()

    def mend(self) -> None:
        """Let everything through that waits, and all that follows."""
        self._cut_at_bytes_down = None
        self._passing.set()

    def slow_down(self, rate_bytes_per_s: float) -> None:
        """From now on a connection is as slow as this, in each direction."""
        self._rate_bytes_per_s = rate_bytes_per_s

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self.mend()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in self._sockets:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._passing.wait()
            broker = socket.create_connection(("127.0.0.1", self._port))
            for sock in (client, broker):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets.append(sock)
            for source, target, up in ((client, broker, True), (broker, client, False)):
                thread = threading.Thread(target=self._pump, args=(source, target, up))
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                self._passing.wait()
                with self._lock:
                    self.bytes_up += len(data) if up else 0
                    self.bytes_down += 0 if up else len(data)
                    self._watch(data, up)
                    limit = self._cut_at_bytes_down
                    if limit is not None and self.bytes_down >= limit:
                        self.cut()
                if self._rate_bytes_per_s is not None:
                    self._closing.wait(len(data) / self._rate_bytes_per_s)
                target.sendall(data)
        self._passing.wait()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
