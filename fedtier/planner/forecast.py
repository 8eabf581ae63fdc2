"""How far a run gets by its deadline: the bound's terms with coefficients from a pilot's progress.

A forecast, not a guarantee: ``docs/theory.md`` says what it assumes, and names here are that
page's. Progress is measured as *reach*: the sum of the step sizes with which synchronous SGD on
all data, without noise and quantizers, comes as far. Everything broadcasts over many plans.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from fedtier.errors import ConfigError
from fedtier.planner.bound import Problem
from fedtier.planner.chains import Integers
from fedtier.planner.estimates import PilotRound
from fedtier.planner.search import Deadline
from fedtier.planner.tree_constants import TreeConstants

Numbers = npt.NDArray[np.float64]
Real = float | Numbers

SCHEDULE_POINTS = 8

POWER = (0.5, 2.0)  # what such curves and coefficients are: median, and factor of a deviation
DRIFT = (0.035, 2.0)
ROUNDING = 0.1  # curvature that random directions see, as those of rounding errors are, over L
_LEAST_LEFT = 2.0**-40  # of steps, where drift by absurd constants takes all but roundings
_LOG_LOSS_DEVIATION = 0.05  # of a pilot's losses from a smooth curve


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
        floor: inf F, or what is taken for it.
        scale: x_0 > 0: reach x leaves ``(1 + x / x_0) ** -power`` of the gap.
        power: p > 0.
        drift: k >= 0, the coefficient of the drift.
        shares: The schedule: shares of mu at points evenly spaced over the run.
    """

    tree: TreeConstants
    problem: Problem
    floor: float
    scale: float
    power: float
    drift: float
    shares: tuple[float, ...] = (1.0,)

    @property
    def gradient2(self) -> float:
        """G^2, the slope with which the curve begins: the squared norm of the first gradient."""
        return self.power * self.problem.gap / self.scale

    @classmethod
    def calibrated(
        cls,
        tree: TreeConstants,
        problem: Problem,
        pilot: Sequence[PilotRound],
        *,
        shares: tuple[float, ...] = (1.0,),
    ) -> Self:
        """The predictor that explains a pilot's losses best: the mode, of a grid of coefficients.

        Args:
            tree: Constants of the tree.
            problem: The constants as measured, with the q of the plan's codecs.
            pilot: Its rounds.
            shares: The schedule of the run to be forecast.

        Raises:
            ConfigError: If the loss did not fall in the pilot.
        """
        start, end = pilot[0].loss_before, pilot[-1].loss_after
        if not end < start:
            raise ConfigError(
                f"progress: the pilot's loss went from {start:.4g} to {end:.4g}, and a forecast "
                "needs one that falls. Run a pilot of more rounds, or with a smaller mu."
            )
        floor = start - problem.gap
        seen = np.log([max(each.loss_after - floor, 1e-9) / problem.gap for each in pilot])
        deviations = np.linspace(-2, 2, 33)
        powers = (POWER[0] * POWER[1] ** deviations)[:, None, None]
        best: tuple[float, Self] | None = None
        for deviation in deviations[::4]:
            one = cls(
                tree=tree, problem=problem, floor=floor, scale=1.0, power=1.0,
                drift=DRIFT[0] * DRIFT[1]**deviation,
            )  # fmt: skip
            reach = np.cumsum([_straight_reach(one, each) for each in pilot])
            scales = np.geomspace(reach[-1] / 1000, reach[-1] * 100, 101)[:, None]
            misses = seen + powers * np.log1p(reach / scales)
            cost = np.sum((misses / _LOG_LOSS_DEVIATION) ** 2, axis=-1) + deviation**2
            cost += (deviations**2)[:, None]
            power, scale = np.unravel_index(np.argmin(cost), cost.shape)
            if best is None or cost[power, scale] < best[0]:
                found = replace(
                    one,
                    power=float(powers[power, 0, 0]),
                    scale=float(scales[scale, 0]),
                    shares=shares,
                )
                best = float(cost[power, scale]), found
        assert best is not None, "the grid is not empty"
        return best[1]

    def with_q(self, q: Sequence[float]) -> Self:
        """For other quantizers, of link 1 to N."""
        return replace(self, problem=replace(self.problem, q=tuple(q)))

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
        costs, n = asked.costs, len(tau)
        # A curbed mean over the schedule is at most the curbed mean.
        gained = self._of_prefix(tau, mu).mean(axis=0)
        room = np.minimum(steps_max / np.prod(prefixes, axis=1), costs.repeats_max(tau))
        if n == self.tree.links:
            reach = asked.deadline_s * gained / costs.iteration_s(tau)
        else:
            reach = asked.deadline_s * self._highest_rate(
                gained, costs.iteration_s(tau), costs.times.rest_s(n), costs.least_round_s(n),
                np.maximum(room, 1.0),
            )  # fmt: skip
        allowed = costs.iterations_max(tau, deadline_s=asked.deadline_s)
        reach = np.minimum(reach * (1 + 1e-9), allowed * gained)
        return np.where(room >= 1, self.loss(reach), np.inf)

    def _highest_rate(
        self, gained: Numbers, iteration_s: Numbers, rest_s: float, least_s: float, room: Numbers
    ) -> Numbers:
        """What 1 to ``room`` iterations, curbed by the highest link alone, gain in a second.

        Seconds are ``iteration_s`` of each and ``rest_s`` once, but ``least_s`` at least.
        """
        top = self.tree.links - 1
        curb = self.curb(top)
        repeats = room
        if curb > 0:
            # ln(1 + v) / (v + b) is highest where (1 + v) (ln(1 + v) - 1) + 1 = b, to one side of
            # which it rises and to the other falls; Newton's method comes from above.
            each_s = np.maximum(iteration_s, 1e-300)
            b = np.maximum(rest_s * curb * gained / each_s, 1e-12)
            w = 1 + np.sqrt(2 * b) + b
            for _ in range(8):
                w = w - (w * (np.log(w) - 1) + 1 - b) / np.log(w)
            highest = np.maximum((w - 1) / (curb * gained), (least_s - rest_s) / each_s)
            repeats = np.clip(highest, 1.0, room)
        seconds = np.maximum(repeats * iteration_s + rest_s, least_s)
        return np.asarray(self._curbed(gained * repeats, top) / seconds)

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
        """c_n, one over the reach at which a way in a child's own direction gains half a step.

        Args:
            link: From 0.
        """
        zeta2, Lv = self.problem.heterogeneity, self.problem.smoothness_each
        whole = sum(zeta2)
        share = math.sqrt(zeta2[link] / whole) if whole > 0 else 0.0
        return self.drift * (Lv or self.problem.smoothness) * share

    def _noise(self, size: Numbers) -> Numbers:
        problem = self.problem
        variance = problem.gradient_variance * self.tree.s[-1]
        return problem.smoothness * size * variance / (2 * self.gradient2)

    def _quantization(self, gained: Numbers, link: int) -> Numbers:
        problem, N = self.problem, self.tree.links
        heterogeneity = sum(problem.heterogeneity[link:]) / self.gradient2
        share = float(self.tree.r[link + 1, N + 1])
        q = problem.q[link]
        return ROUNDING * problem.smoothness / 2 * q * share * gained * (1 + heterogeneity)


def _straight_reach(forecast: Forecast, pilot: PilotRound) -> float:
    """Of a pilot's round; its noise and its quantizers are in the curve that is fitted."""
    lost = forecast.progress(pilot.tau, mu=pilot.mu, rounds=1.0)
    left = float(lost.steps - sum(lost.drift))
    return max(left, _LEAST_LEFT * float(lost.steps))
