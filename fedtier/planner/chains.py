"""All iteration counts up to a number of local steps, tier by tier from the devices up.

Everything about a plan depends on tau through the local steps ``S_n = tau_1 ... tau_n`` alone, a
chain of divisors; a chain's first tiers are its prefix.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def empty_prefix() -> Integers:
    """The prefix of every chain, shape ``(1, 0)``."""
    return np.zeros((1, 0), np.int64)


def extended(prefixes: Integers, *, steps_max: int, bits: int | None = None) -> Integers:
    """Every prefix with every count for one more tier, in lexicographic order.

    Args:
        prefixes: tau_1..tau_n of each, shape ``(k, n)``, in lexicographic order.
        steps_max: The largest product.
        bits: Only counts of at most so many significant bits: with 1 the powers of two.

    Returns:
        Shape ``(more, n + 1)``.
    """
    room = steps_max // prefixes.prod(axis=1, dtype=np.int64)
    allowed = None if bits is None else _of_bits(bits, int(room.max(initial=0)))
    counts = room if allowed is None else np.searchsorted(allowed, room, side="right")
    rows = np.repeat(np.arange(len(prefixes)), counts)
    index = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.column_stack([prefixes[rows], index + 1 if allowed is None else allowed[index]])


def _of_bits(bits: int, most: int) -> Integers:
    """All whole numbers from 1 to ``most`` of at most so many significant bits, ascending."""
    found = list(range(1, min(most, 2**bits) + 1))
    step = 2
    while found and found[-1] + step <= most:
        end = min(most, 2**bits * step)
        found += range(found[-1] + step, end + 1, step)
        step *= 2
    return np.asarray(found, np.int64)


def chains(links: int, *, steps_max: int, bits: int | None = None) -> Integers:
    """tau_1..tau_N of every chain whose product is at most ``steps_max``, shape ``(k, N)``.

    With ``bits``, of counts of at most so many significant bits.
    """
    found = empty_prefix()
    for _ in range(links):
        found = extended(found, steps_max=steps_max, bits=bits)
    return found
