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


def extended(prefixes: Integers, *, steps_max: int, doubling: bool = False) -> Integers:
    """Every prefix with every count for one more tier, in lexicographic order.

    Args:
        prefixes: tau_1..tau_n of each, shape ``(k, n)``, in lexicographic order.
        steps_max: The largest product.
        doubling: Only counts that are powers of two.

    Returns:
        Shape ``(more, n + 1)``.
    """
    counts = steps_max // prefixes.prod(axis=1, dtype=np.int64)
    if doubling:
        counts = np.frexp(counts)[1].astype(np.int64)  # how many powers of two are not larger
    rows = np.repeat(np.arange(len(prefixes)), counts)
    index = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.column_stack([prefixes[rows], 2**index if doubling else index + 1])


def chains(links: int, *, steps_max: int, doubling: bool = False) -> Integers:
    """tau_1..tau_N of every chain whose product is at most ``steps_max``, shape ``(k, N)``.

    With ``doubling``, of every one of powers of two.
    """
    found = empty_prefix()
    for _ in range(links):
        found = extended(found, steps_max=steps_max, doubling=doubling)
    return found
