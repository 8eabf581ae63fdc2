"""Times of the day at which something is allowed: ``22:00-06:00``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class Hours:
    """From one minute of the local day to another, which may be on the next day."""

    begin: int  # minute of the day, 0 to 1439; the first that is in it
    end: int  # the first that is not

    @classmethod
    def parse(cls, text: str) -> Hours | None:
        """Read ``HH:MM-HH:MM``; None if it is not that, or begins when it ends."""
        found = _WINDOW.fullmatch(text)
        if found is None:
            return None
        hour, minute, end_hour, end_minute = (int(number) for number in found.groups())
        hours = cls(60 * hour + minute, 60 * end_hour + end_minute)
        return hours if hours.begin != hours.end else None

    def __contains__(self, minute: int) -> bool:
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


def hours_complaint(windows: Any) -> str:  # noqa: ANN401 (what the schema let pass)
    """What is wrong with a list of windows; empty if nothing is."""
    for window in windows:
        if Hours.parse(window) is None:
            return (
                f'holds "{window}", which is no time of the day. Write HH:MM-HH:MM with two '
                'different times, such as "22:00-06:00".'
            )
    return ""
