"""What files of ``/proc`` and ``/sys`` say, and nothing where a driver writes nonsense."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_NUMBER_BITS = 64  # of the kernel's longest numbers, signed or not
_DIGITS_MAX = len(str(2**_NUMBER_BITS))


def text_of(path: Path) -> str:
    """What a file says; empty where there is none, or its driver has no answer."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def number_of(path: Path) -> int | None:
    """The whole number that a file says, as ``whole_number``."""
    return whole_number(text_of(path))


def whole_number(text: str) -> int | None:
    """A number of the kernel's; None where the text is none, or has more than 64 bits."""
    if len(text) > 1 + _DIGITS_MAX:
        return None
    with suppress(ValueError):
        number = int(text)
        return number if abs(number) < 2**_NUMBER_BITS else None
    return None
