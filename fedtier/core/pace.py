"""How long to wait on one line for an answer before asking again."""

from __future__ import annotations

from fedtier.limits import PAUSE_MAX_S

_DOUBLINGS_MAX = 10  # beyond the longest pause, whatever is doubled
_FORGETTING = 0.75  # of the slowest answer so far, with every answer after it
_SLOWEST_MAX_S = PAUSE_MAX_S / 2  # slower ones make no pause longer, but would be forgotten later


class Pace:
    """Learns what answers take: who asks again sooner gets everything twice on a slow line.

    A pause is at least ``first_s``, twice what the slowest of the latest answers took where that is
    longer, doubled for every time it was waited in vain, and at most a minute.
    """

    def __init__(self, first_s: float) -> None:
        """Know nothing of the line.

        Args:
            first_s: The shortest pause.
        """
        self._first_s = first_s
        self._slowest_s = 0.0
        self._since_s: float | None = None
        self._in_vain = 0

    @property
    def pause_s(self) -> float:
        """How long to wait from now on."""
        usual_s = max(self._first_s, 2 * self._slowest_s)
        return min(PAUSE_MAX_S, usual_s * 2.0 ** min(self._in_vain, _DOUBLINGS_MAX))

    def afresh(self, now_s: float) -> None:
        """Something else is to come from now on: what was waited for in vain is of the past."""
        self._in_vain = 0
        self._since_s = now_s

    def begin(self, now_s: float) -> None:
        """Something has been asked for once more, and is to come from now on."""
        self._since_s = now_s

    def heard(self, now_s: float) -> None:
        """There was an answer, but not what was asked for: no more is to come by itself."""
        if self._since_s is not None:
            took_s = min(_SLOWEST_MAX_S, now_s - self._since_s)
            self._slowest_s = max(_FORGETTING * self._slowest_s, took_s)
        self._since_s = None

    def answered(self, now_s: float) -> None:
        """Something has come, and more may be to come."""
        self.heard(now_s)
        self._in_vain = 0
        self.begin(now_s)

    def hurry(self) -> None:
        """Ask as if for the first time: there is somebody new to answer."""
        self._in_vain = 0

    def in_vain(self) -> None:
        """Nothing has come for a pause."""
        self._in_vain += 1
