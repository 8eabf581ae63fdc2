"""Bytes a client's sockets carried, from the kernel's own counters where it has them.

Linux counts per connection what was acknowledged and what was received (``struct tcp_info``,
``tcpi_bytes_acked`` and ``tcpi_bytes_received``, RFC 4898, since Linux 4.1). Elsewhere the sizes
of the publishes are added up instead: connects, pings and acknowledgements of QoS 1 are then left
out, and ``Traffic.estimated`` says so.
"""

from __future__ import annotations

import socket
import struct
import threading
from typing import Protocol

from fedtier.transport.base import Traffic

_TCP_INFO = getattr(socket, "TCP_INFO", None)
_ACKED_AND_RECEIVED = struct.Struct("@QQ")
_OFFSET_BYTES = 120  # linux/tcp.h: 8 octets, 24 words, two 64-bit pacing rates, then these two
_END_BYTES = _OFFSET_BYTES + _ACKED_AND_RECEIVED.size


class SocketLike(Protocol):
    """The one method of a socket, plain or TLS, that is needed here."""

    def getsockopt(self, level: int, option: int, buffer_bytes: int, /) -> bytes:
        """See ``socket.socket.getsockopt``."""


def tcp_counters(sock: SocketLike) -> tuple[int, int] | None:
    """Bytes acknowledged by the peer and bytes received, or None where the system cannot tell."""
    if _TCP_INFO is None:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _END_BYTES)
    except OSError:
        return None
    if len(info) < _END_BYTES:
        return None
    acked, received = _ACKED_AND_RECEIVED.unpack_from(info, _OFFSET_BYTES)
    return acked, received


class TrafficMeter:
    """Adds up the connections of one client; every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: SocketLike | None = None
        self._sent = self._received = 0  # of finished connections
        self._published_bytes = self._delivered_bytes = 0  # of the current one, for the estimate
        self._estimated = False

    def opened(self, sock: SocketLike) -> None:
        """A connection begins."""
        with self._lock:
            self._socket = sock
            self._published_bytes = self._delivered_bytes = 0

    def closing(self) -> None:
        """The current connection ends; its socket is still open, for the last time."""
        with self._lock:
            current = self._current()
            self._sent += current[0]
            self._received += current[1]
            self._socket = None

    def published(self, packet_bytes: int) -> None:
        """A PUBLISH packet was handed to the socket."""
        with self._lock:
            self._published_bytes += packet_bytes

    def delivered(self, packet_bytes: int) -> None:
        """A PUBLISH packet was received."""
        with self._lock:
            self._delivered_bytes += packet_bytes

    def total(self) -> Traffic:
        """Every connection so far."""
        with self._lock:
            sent, received = self._current()
            return Traffic(
                bytes_sent=self._sent + sent,
                bytes_received=self._received + received,
                estimated=self._estimated,
            )

    def _current(self) -> tuple[int, int]:
        if self._socket is None:
            return 0, 0
        counters = tcp_counters(self._socket)
        if counters is None:
            self._estimated = True
            return self._published_bytes, self._delivered_bytes
        return counters
