"""Says things once: a note that repeats is logged at its 1st, 10th, 100th... occurrence.

Strangers may word a note differently every time: beyond a few dozen wordings of one event, or a
thousand of all, it is counted by its event alone.
"""

from __future__ import annotations

from collections import Counter

from fedtier.core.effects import Note

_DISTINCT_MAX = 1024
_WORDINGS_MAX = 32  # of one event


class Repeats:
    """Counts equal notes, in bounded memory."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._wordings: Counter[str] = Counter()

    def count(self, note: Note) -> int | None:
        """How often this note has come, if it is worth saying again; None if it is not.

        Only warnings are held back: the rest is wanted each time it is asked for.
        """
        if note.level != "warning":
            return 1
        key = f"{note.event} {sorted(note.fields.items())}"
        if key not in self._counts:
            if len(self._counts) >= _DISTINCT_MAX or self._wordings[note.event] >= _WORDINGS_MAX:
                key = note.event
            else:
                self._wordings[note.event] += 1
        self._counts[key] += 1
        count = self._counts[key]
        return count if str(count).strip("0") == "1" else None
