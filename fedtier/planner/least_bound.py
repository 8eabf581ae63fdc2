"""The guarantee as an objective of the search: which plan has the least bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedtier.planner.bound import SPLITS, Numbers, Problem, Split, bound
from fedtier.planner.chains import Integers
from fedtier.planner.search import Deadline
from fedtier.planner.tree_constants import TreeConstants


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastBound:
    """``fedtier.planner.bound`` as an ``Objective``.

    Attributes:
        tree: Constants of the tree.
        problem: The assumptions' constants.
        split: The proof's free parameters; None: of a grid the best for each plan.
    """

    tree: TreeConstants
    problem: Problem
    split: Split | None = None

    @property
    def _splits(self) -> Split:
        return SPLITS if self.split is None else Split(*(np.array([one]) for one in self.split))

    def value(self, tau: Sequence[Numbers], *, mu: float, rounds: Numbers) -> Numbers:
        """B; infinite where the theorem does not hold."""
        return bound(self.tree, self.problem, tau=tau, mu=mu, rounds=rounds, split=self.split).value

    def steps_max(self, *, mu: float) -> float:
        """The largest S_N for which the theorem can hold: omega > 0 needs kappa < 1."""
        Lv = self.problem.smoothness_each or self.problem.smoothness
        alpha, beta, _ = self._splits
        coefficient = np.min((1 + alpha) * (1 + beta) / (2 * beta)) * (mu * Lv) ** 2
        return float((1 + np.sqrt(1 + 4 / coefficient)) / 2)

    def lower(self, prefixes: Integers, *, mu: float, asked: Deadline, steps_max: int) -> Numbers:
        """See ``docs/theory.md``, the search."""
        problem, times, s = self.problem, asked.costs.times, (0.0, *self.tree.s)
        N, n = self.tree.links, prefixes.shape[1]
        S = np.concatenate(
            [np.ones((1, len(prefixes))), np.cumprod(prefixes, axis=1).T.astype(float)]
        )
        alpha, beta, theta = self._splits
        a = 1 + 1 / np.max(alpha)
        g = np.min((1 + alpha) * (1 + beta)) * mu**2
        step_s = times.iteration_s(list(prefixes.T)) / S[n] + times.rest_s(n) / steps_max
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
