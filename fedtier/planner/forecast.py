"""How far a run gets by its deadline: the bound's terms with coefficients from a pilot's progress.

A forecast, not a guarantee: ``docs/theory.md`` says what it assumes, and names here are that
page's. Progress is measured as *reach*: the sum of the step sizes with which synchronous SGD on
all data, without noise and quantizers, comes as far. Everything broadcasts over many plans.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedtier.planner.bound import Problem
from fedtier.planner.chains import Integers
from fedtier.planner.search import Deadline
from fedtier.planner.tree_constants import TreeConstants

Numbers = npt.NDArray[np.float64]
Real = float | Numbers

SCHEDULE_POINTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What becomes of the local steps of a run, in units of reach.

    Attributes:
        steps: What synchronous SGD with as many steps would have: the sum of all step sizes.
        drift: What of it is lost as nodes walk apart between aggregations, for link 1 to N.
        noise: What the stochastic gradients' noise takes of the rest.
        quantization: What each link's quantizer takes of it, for link 1 to N.
        reach: What is left.
    """

    steps: Numbers
    drift: tuple[Numbers, ...]
    noise: Numbers
    quantization: tuple[Numbers, ...]
    reach: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A calibrated predictor of the mean loss at a run's end; an ``Objective`` of the search.

    Attributes:
        tree: Constants of the tree.
        problem: The constants as measured, with the q of the plan's codecs.
        gradient2: G^2 > 0, a typical squared norm of the mean gradient.
        floor: F_inf, the loss at the end of all training.
        scale: x_0 > 0: reach x leaves ``(1 + x / x_0) ** -power`` of the gap.
        power: p > 0.
        drift: k >= 0, the coefficient of the drift.
        shares: The schedule: shares of mu at points evenly spaced over the run.
    """

    tree: TreeConstants
    problem: Problem
    gradient2: float
    floor: float
    scale: float
    power: float
    drift: float
    shares: tuple[float, ...] = (1.0,)

    def loss(self, reach: Real) -> Numbers:
        """The forecast of F where a run has come so far."""
        curve = (1 + np.asarray(reach, np.float64) / self.scale) ** -self.power
        return self.floor + self.problem.gap * curve

    def progress(self, tau: Sequence[Real], *, mu: float, rounds: Real) -> Progress:
        """What becomes of the steps of whole rounds.

        Args:
            tau: tau_1..tau_N.
            mu: Step size at the run's beginning.
            rounds: T.
        """
        size = mu * self._points(tau)
        gained, lost, quantized = size, [], []
        steps = size
        for link, repeats in enumerate(tau):
            steps = steps * np.asarray(repeats, np.float64)
            straight = gained * np.asarray(repeats, np.float64)
            gained = self._curbed(straight, link)
            # Of a round: this link's iterations are as many as what is above it repeats them.
            lost.append((straight - gained) / straight)
            quantized.append(self._quantization(gained, link))
        noise = self._noise(size)
        left = gained / (1 + noise + sum(quantized))
        kept = steps
        drifts = []
        for share in lost:
            drifts.append(kept * share)
            kept = kept * (1 - share)
        over = [noise, *quantized]
        taken = [(gained - left) * each / np.maximum(sum(over), 1e-300) for each in over]
        whole = [np.asarray(rounds * one.mean(axis=0)) for one in (steps, left, *drifts, *taken)]
        N = len(lost)
        return Progress(
            steps=whole[0],
            reach=whole[1],
            drift=tuple(whole[2 : 2 + N]),
            noise=whole[2 + N],
            quantization=tuple(whole[3 + N :]),
        )

    def reach(self, tau: Sequence[Real], *, mu: float, rounds: Real) -> Numbers:
        """``progress(...).reach``, without its parts."""
        return np.asarray(rounds * self._of_prefix(tau, mu).mean(axis=0))

    def value(self, tau: Sequence[Numbers], *, mu: float, rounds: Numbers) -> Numbers:
        """The forecast loss; see ``Objective``."""
        return self.loss(self.reach(tau, mu=mu, rounds=rounds))

    def steps_max(self, *, mu: float) -> float:
        """Any number: a forecast is finite for every plan."""
        return np.inf

    def lower(self, prefixes: Integers, *, mu: float, asked: Deadline, steps_max: int) -> Numbers:
        """Nothing gains more in a second than its tiers below do, nor than the highest can."""
        tau = [np.asarray(counts, np.float64) for counts in prefixes.T]
        times, n = asked.costs.times, len(tau)
        iteration_s, rest_s = times.iteration_s(tau), times.rest_s(n)
        # A curbed mean over the schedule is at most the curbed mean.
        gained = self._of_prefix(tau, mu).mean(axis=0)
        room = np.maximum(steps_max / np.prod(prefixes, axis=1), 1.0)
        if n < self.tree.links:
            rate = self._highest_rate(gained, iteration_s, rest_s, room)
        else:
            rate = gained / iteration_s
        return self.loss(asked.deadline_s * rate * (1 + 1e-9))

    def _highest_rate(
        self, gained: Numbers, iteration_s: Numbers, rest_s: float, room: Numbers
    ) -> Numbers:
        """What 1 to ``room`` iterations, curbed by the highest link alone, gain in a second."""
        top = self.tree.links - 1
        curb = self.curb(top)
        repeats = room
        if curb > 0:
            # ln(1 + v) / (v + b) is highest where (1 + v) (ln(1 + v) - 1) + 1 = b, to one side of
            # which it rises and to the other falls; Newton's method comes from above.
            b = np.maximum(rest_s * curb * gained / np.maximum(iteration_s, 1e-300), 1e-12)
            w = 1 + np.sqrt(2 * b) + b
            for _ in range(8):
                w = w - (w * (np.log(w) - 1) + 1 - b) / np.log(w)
            repeats = np.clip((w - 1) / (curb * gained), 1.0, room)
        return np.asarray(
            self._curbed(gained * repeats, top) / (repeats * iteration_s + rest_s)
        )

    def _of_prefix(self, tau: Sequence[Real], mu: float) -> Numbers:
        """What an iteration of a node of tier n gains, by point of the schedule, less noise."""
        size = mu * self._points(tau)
        gained, over = size, self._noise(size)
        for link, repeats in enumerate(tau):
            gained = self._curbed(gained * np.asarray(repeats, np.float64), link)
            over = over + self._quantization(gained, link)
        return gained / (1 + over)

    def _points(self, tau: Sequence[Real]) -> Numbers:
        dimensions = max((np.ndim(repeats) for repeats in tau), default=0)
        return np.reshape(self.shares, (-1, *(1 for _ in range(dimensions))))

    def _curbed(self, straight: Numbers, link: int) -> Numbers:
        """What a way of that length gains where the children of a cell differ."""
        c = self.curb(link)
        return np.log1p(c * straight) / c if c > 0 else straight

    def curb(self, link: int) -> float:
        """c_n, one over the reach at which a way in one child's direction gains half; link from 0."""
        zeta2, Lh = self.problem.heterogeneity[link], self._Lh
        return self.drift * Lh * math.sqrt(zeta2 / 3 / self.gradient2)

    @property
    def _Lh(self) -> float:
        return self.problem.smoothness_mean or self.problem.smoothness

    def _noise(self, size: Numbers) -> Numbers:
        problem = self.problem
        variance = problem.gradient_variance * self.tree.s[-1]
        return problem.smoothness * size * variance / (2 * self.gradient2)

    def _quantization(self, gained: Numbers, link: int) -> Numbers:
        problem, N = self.problem, self.tree.links
        heterogeneity = sum(problem.heterogeneity[link:]) / self.gradient2
        share = float(self.tree.r[link + 1, N + 1])
        q = problem.q[link]
        return problem.smoothness / 2 * q * share * gained * (1 + heterogeneity)
