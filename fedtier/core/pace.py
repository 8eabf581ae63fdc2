"""How long to wait on one line for an answer before asking again."""

from __future__ import annotations

from collections import deque

from fedtier.limits import PAUSE_MAX_S

_DOUBLINGS_MAX = 10  # beyond the longest pause, whatever is doubled
_ANSWERS = 8  # that a line remembers
_SMALL_BYTES = 4_096  # fewer tell of the way's latency, not of its rate
_UNKNOWN_BYTES_PER_S = 2_000  # what a line is taken to carry before anything came by it
_LEAST_BYTES_PER_S = 1_000  # and at least, however often a pause was in vain


class Line:
    """What the latest answers on one line took, whoever asked."""

    def __init__(self) -> None:
        """Know nothing."""
        self._latest: deque[tuple[int, float]] = deque(maxlen=_ANSWERS)  # bytes, seconds

    def took(self, seconds: float, bytes_: int) -> None:
        """Learn of an answer, and of the bytes that travelled for it."""
        self._latest.append((bytes_, min(_longest_s(bytes_) / 2, seconds)))

    def pause_s(self, bytes_: int) -> float:
        """Long enough for so many bytes, if all is well."""
        if not self._latest:
            return bytes_ / _UNKNOWN_BYTES_PER_S
        largest = max(_SMALL_BYTES, *(each for each, _ in self._latest))
        slowest_s = max(seconds for _, seconds in self._latest)
        return 2 * slowest_s * max(1.0, bytes_ / largest)


class Pace:
    """Learns what answers take: who asks again sooner gets everything twice on a slow line.

    A pause is at least ``first_s``, and twice what the slowest of the latest answers took: in
    proportion longer for more bytes than any of them had. On a line of which nothing is known it
    is what the bytes take at 2 kB/s. Every time it was waited in vain doubles it. It is at most a
    minute, or what the bytes take at 1 kB/s.
    """

    def __init__(self, first_s: float, line: Line | None = None) -> None:
        """Know no more than what the line has learned.

        Args:
            first_s: The shortest pause.
            line: That of others who ask by it; one of its own by default.
        """
        self._first_s = first_s
        self._line = line or Line()
        self._since_s: float | None = None
        self._in_vain = 0

    def pause_s(self, bytes_: int) -> float:
        """How long to wait from now on.

        Args:
            bytes_: What travels before the next answer can be here.
        """
        usual_s = max(self._first_s, self._line.pause_s(bytes_))
        return min(_longest_s(bytes_), usual_s * 2.0 ** min(self._in_vain, _DOUBLINGS_MAX))

    def afresh(self, now_s: float) -> None:
        """Something else is to come from now on: what was waited for in vain is of the past."""
        self._in_vain = 0
        self._since_s = now_s

    def begin(self, now_s: float) -> None:
        """Something has been asked for once more, and is to come from now on."""
        self._since_s = now_s

    def heard(self, now_s: float, bytes_: int) -> None:
        """There was an answer, but not what was asked for: no more is to come by itself.

        Args:
            now_s: The time.
            bytes_: What travelled for it.
        """
        if self._since_s is not None:
            self._line.took(now_s - self._since_s, bytes_)
        self._since_s = None

    def answered(self, now_s: float, bytes_: int) -> None:
        """Something has come, and more may be to come; ``bytes_`` travelled for it."""
        self.heard(now_s, bytes_)
        self._in_vain = 0
        self.begin(now_s)

    def hurry(self) -> None:
        """Ask as if for the first time: there is somebody new to answer."""
        self._in_vain = 0

    def in_vain(self) -> None:
        """Nothing has come for a pause."""
        self._in_vain += 1


def _longest_s(bytes_: int) -> float:
    """No pause is longer, and no silence counts as an answer that took longer than half of it."""
    return max(PAUSE_MAX_S, bytes_ / _LEAST_BYTES_PER_S)
