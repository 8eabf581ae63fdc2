"""Telling a stolen client id from a bad network, where the broker does not say.

MQTT 5 has a reason code for it (0x8E, session taken over), but mosquitto 2.0.11 and the embedded
broker close the older connection without a word (tried). What remains is the pattern of two
clients that throw each other out: connections that end early, from the other side, while the
broker accepts us again at the first attempt and still has our session, so that it neither
restarted nor lost its network.
"""

from __future__ import annotations

SHORT_S = 10.0  # a connection that lived longer was not fought over


class TakeoverWatch:
    """Judges the end of every connection of one client."""

    def __init__(self) -> None:
        self._suspicious = False  # the last connection ended early and without a word
        self._kept = False  # ... and the broker still had our session at the next attempt

    def attempt_failed(self) -> None:
        """The broker could not be reached, or refused us: it was the network, or a restart."""
        self._suspicious = self._kept = False

    def accepted(self, *, session_present: bool) -> None:
        """A connection was accepted."""
        self._kept = self._suspicious and session_present

    def lost(self, *, silent: bool, lived_s: float) -> bool:
        """A connection ended; say whether another client with our id is the likely cause.

        The first time it cannot be told from a network that failed for a moment; from the second
        in a row on it can.

        Args:
            silent: The other side closed it without a DISCONNECT, and not for want of keep-alives.
            lived_s: How long it had been up.
        """
        self._suspicious = silent and lived_s < SHORT_S
        return self._suspicious and self._kept
