"""How long to wait before the next attempt to connect."""

from __future__ import annotations

from random import Random

BASE_S = 0.2  # small: the order in which brokers and nodes start must not matter
CAP_S = 60.0
STABLE_S = 10.0  # a connection that lived so long starts the waits anew


class Backoff:
    """Decorrelated jitter: every wait is drawn between ``BASE_S`` and three times the last one.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    Only a connection that lived ``STABLE_S`` resets it, so two clients that fight for one client
    id slow down instead of throwing each other out for ever.
    """

    def __init__(self, random: Random | None = None) -> None:
        self._random = random if random is not None else Random()
        self._last_s = BASE_S

    def next_s(self) -> float:
        """Draw the next wait, in seconds, in ``[BASE_S, CAP_S]``."""
        self._last_s = min(CAP_S, self._random.uniform(BASE_S, 3 * self._last_s))
        return self._last_s

    def lived(self, lifetime_s: float) -> None:
        """Take in how long the last connection lived."""
        if lifetime_s >= STABLE_S:
            self._last_s = BASE_S
