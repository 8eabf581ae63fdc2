"""The iteration counts and step size with the least bound within a deadline: an exact search.

By branch and bound over prefixes of tau (``docs/theory.md``, the search): a prefix is left as soon
as nothing that begins with it can be better than what is already known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedtier.errors import ConfigError
from fedtier.planner.bound import SPLITS, Numbers, Problem, Split, bound
from fedtier.planner.chains import Integers, empty_prefix, extended
from fedtier.planner.round_time import Times
from fedtier.planner.tree_constants import TreeConstants

_BATCH = 4096  # plans bounded at once, with 36 splits each: some 100 MB of intermediate numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """What must be reached in which time.

    Attributes:
        tree: Constants of the tree.
        problem: The assumptions' constants.
        times: Of the same tree.
        deadline_s: Seconds for everything, > 0.
        steps_max: A limit of tau_1 ... tau_N beside what the deadline and the theorem allow.
        split: The proof's free parameters; None: of a grid the best for each plan.
    """

    tree: TreeConstants
    problem: Problem
    times: Times
    deadline_s: float
    steps_max: int | None = None
    split: Split | None = None

    @property
    def splits(self) -> Split:
        """All that are looked at, each an array."""
        return SPLITS if self.split is None else Split(*(np.array([one]) for one in self.split))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best plan, or one of those it was compared with."""

    tau: tuple[int, ...]
    mu: float
    rounds: int
    round_s: float
    value: float  # the bound


def least_bound(asked: Deadline, *, mus: Sequence[float]) -> Found | None:
    """The plan with the least bound; of equal ones that with the shorter round, then the first.

    Args:
        asked: Tree, problem, times and deadline.
        mus: Step sizes to choose from.

    Returns:
        None where the theorem holds for no plan that fits.

    Raises:
        ConfigError: If not even one round fits into the deadline; it names the shortest that does.
    """
    links = asked.tree.links
    shortest_s = float(asked.times.round_s((1,) * links))
    if asked.times.rounds((1,) * links, deadline_s=asked.deadline_s) < 1:
        raise ConfigError(
            f"deadline_s = {asked.deadline_s:g}: one round with tau = {list((1,) * links)} takes "
            f"{shortest_s:.4g} s, so the smallest deadline in which anything is trained is that"
        )
    best: Found | None = None
    for mu in mus:  # a first idea of what is good, so that more is left early
        best = _better(best, _best_of(asked, _powers_of_two(asked, mu), mu))
    for mu in mus:
        best = _better(best, _best_of(asked, _promising(asked, mu, best), mu))
    return best


def steps_max(asked: Deadline, mu: float) -> int:
    """The largest S_N for which the theorem can hold and a round fits."""
    Lv = asked.problem.smoothness_each or asked.problem.smoothness
    alpha, beta, _ = asked.splits
    coefficient = np.min((1 + alpha) * (1 + beta) / (2 * beta)) * (mu * Lv) ** 2
    theorem = (1 + np.sqrt(1 + 4 / coefficient)) / 2
    messages_s = sum(min(seconds) for seconds in asked.times.message_s)
    step_s = max(asked.times.step_s)
    fits = (asked.deadline_s - messages_s) / step_s if step_s > 0 else np.inf
    return max(1, int(min(theorem, fits, asked.steps_max or np.inf, 2**40)))


def _powers_of_two(asked: Deadline, mu: float) -> Integers:
    largest = int(np.log2(steps_max(asked, mu)))
    ranges = np.meshgrid(*[np.arange(largest + 1)] * asked.tree.links, indexing="ij")
    exponents = np.stack([axis.ravel() for axis in ranges], axis=1)
    return np.asarray(2 ** exponents[exponents.sum(axis=1) <= largest], np.int64)


def _promising(asked: Deadline, mu: float, best: Found | None) -> Integers:
    """Every chain that no lower bound rules out."""
    most = steps_max(asked, mu)
    found = empty_prefix()
    for _ in range(asked.tree.links):
        found = extended(found, steps_max=most)
        if best is not None:
            found = found[_lower(asked, found, mu, most=most) <= best.value]
    return found


def _lower(asked: Deadline, prefixes: Integers, mu: float, *, most: int) -> Numbers:
    """Nothing that begins so has a bound below this; ``docs/theory.md``, the search."""
    problem, times, s = asked.problem, asked.times, (0.0, *asked.tree.s)
    N, n = asked.tree.links, prefixes.shape[1]
    S = np.concatenate([np.ones((1, len(prefixes))), np.cumprod(prefixes, axis=1).T.astype(float)])
    alpha, beta, theta = asked.splits
    a = 1 + 1 / np.max(alpha)
    g = np.min((1 + alpha) * (1 + beta)) * mu**2
    step_s = (
        np.max(_partial_s(times, prefixes), axis=0) / S[n]
        + sum(min(seconds) for seconds in times.message_s[n:]) / most
    )
    optimisation = 2 * problem.gap / (mu * asked.deadline_s) * step_s
    noise = problem.smoothness * mu * problem.gradient_variance * s[N + 1]
    drift = np.zeros(len(prefixes))
    for m in range(1, N + 1):
        steps = S[min(m, n)]
        drift += g * problem.heterogeneity[m - 1] * (steps - 1) * (2 * steps - 1) / 6
        drift += a * mu**2 * problem.gradient_variance * (s[m] - s[m + 1]) * (steps - 1) / 2
    Lmu = problem.smoothness * mu
    Lh = problem.smoothness_mean or problem.smoothness
    each = np.unique(np.asarray(theta))[:, None]
    c = 1 + (1 - Lmu) * (1 - each)
    dd = 1 + (1 - Lmu) * (1 / each - 1)
    # Rounding of sums in another order must not rule out a plan that is equally good.
    least: Numbers = np.min((optimisation + noise + dd * Lh**2 * drift) / c, axis=0)
    return least * (1 - 1e-12)


def _partial_s(times: Times, prefixes: Integers) -> list[Numbers]:
    n = prefixes.shape[1]
    part = Times(parents=times.parents[:n], step_s=times.step_s, message_s=times.message_s[:n])
    return part.tiers_s(list(prefixes.T))[-1]


def _best_of(asked: Deadline, taus: Integers, mu: float) -> Found | None:
    best: Found | None = None
    for start in range(0, len(taus), _BATCH):
        tau = list(taus[start : start + _BATCH].T)
        rounds = asked.times.rounds(tau, deadline_s=asked.deadline_s)
        with np.errstate(divide="ignore"):
            value = bound(
                asked.tree, asked.problem, tau=tau, mu=mu, rounds=rounds, split=asked.split
            ).value
        value = np.where(rounds >= 1, value, np.inf)
        round_s = asked.times.round_s(tau)
        first = np.lexsort((*reversed(tau), round_s, value))[0]
        if np.isfinite(value[first]):
            found = Found(
                tau=tuple(int(counts[first]) for counts in tau),
                mu=mu,
                rounds=int(rounds[first]),
                round_s=float(round_s[first]),
                value=float(value[first]),
            )
            best = _better(best, found)
    return best


def _better(one: Found | None, other: Found | None) -> Found | None:
    if one is None or other is None:
        return one or other
    return min(one, other, key=lambda found: (found.value, found.round_s, found.tau, found.mu))
