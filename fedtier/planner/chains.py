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


def extended(prefixes: Integers, *, steps_max: int) -> Integers:
    """Every prefix with every count for one more tier, in lexicographic order.

    Args:
        prefixes: tau_1..tau_n of each, shape ``(k, n)``, in lexicographic order.
        steps_max: The largest product.

    Returns:
        Shape ``(more, n + 1)``.
    """
    products = prefixes.prod(axis=1, dtype=np.int64)
    counts = steps_max // products
    rows = np.repeat(np.arange(len(prefixes)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    return np.column_stack([prefixes[rows], np.arange(len(rows)) - first + 1])


def chains(links: int, *, steps_max: int) -> Integers:
    """tau_1..tau_N of every chain whose product is at most ``steps_max``, shape ``(k, N)``."""
    found = empty_prefix()
    for _ in range(links):
        found = extended(found, steps_max=steps_max)
    return found
