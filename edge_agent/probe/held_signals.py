"""Signals that wait until something has been done that they would break."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held(*numbers: int) -> Iterator[None]:
    """Let signals act after the block, in the order in which they came.

    Meant for imports: a library in C that is interrupted as it loads fails with an ImportError. By
    handlers, since a mask holds for one thread alone, and others take the signal then.

    Args:
        numbers: Of the signals; the main thread alone may hold any.
    """
    came: list[int] = []
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)
