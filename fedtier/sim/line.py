"""What a client's connection to its broker is like: when a message sent now arrives, if it does."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One connection, the same in both directions."""

    rate_bytes_per_s: float | None = None  # None = without a limit
    latency_s: float = 0.0
    jitter_s: float = 0.0  # up to so much more, of each message
    loss: float = 0.0  # share of messages that never arrive, in [0, 1)


DIRECT = Line()
"""Of a client on the broker's own machine."""


class Direction:
    """One direction of a connection: messages go one after another and never overtake."""

    def __init__(self, line: Line, *, address: str) -> None:
        """Begin idle.

        Args:
            line: What it is like; it may be replaced any time, for what is sent from then on.
            address: What its jitter and losses are drawn by.
        """
        self.line = line
        self._draws = random.Random(address)
        self._free_s = 0.0  # when the last bit of what was sent last has left
        self._arrived_s = 0.0

    def carry(self, now_s: float, packet_bytes: int) -> float | None:
        """When a message arrives that is handed over now; None if it never does."""
        line = self.line
        if line == DIRECT:
            return now_s
        self._free_s = max(self._free_s, now_s)
        if line.rate_bytes_per_s is not None:
            self._free_s += packet_bytes / line.rate_bytes_per_s
        late_s = line.jitter_s * self._draws.random() if line.jitter_s else 0.0
        if line.loss and self._draws.random() < line.loss:
            return None
        self._arrived_s = max(self._arrived_s, self._free_s + line.latency_s + late_s)
        return self._arrived_s

    def round_trip_s(self) -> float:
        """Seconds of a handshake on an idle line."""
        return 2 * self.line.latency_s
