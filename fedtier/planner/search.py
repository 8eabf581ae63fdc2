"""The iteration counts and step size with the least objective within a deadline: exact.

By branch and bound over prefixes of tau (``docs/theory.md``, the search): a prefix is left as soon
as nothing that begins with it can be better than what is already known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fedtier.errors import ConfigError
from fedtier.limits import ROUNDS_MAX, TAU_MAX
from fedtier.planner.chains import Integers, empty_prefix, extended
from fedtier.planner.cost import Costs

Numbers = npt.NDArray[np.float64]

_BATCH = 4096  # plans valued at once: with the bound's 36 splits some 100 MB of numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """What must be done in which time.

    Attributes:
        costs: What rounds take, and the links' budgets.
        deadline_s: Seconds for all rounds.
        start_s: Seconds that pass before them, for whoever is told a deadline.
        steps_max: A limit of tau_1 ... tau_N beside what the deadline and the objective allow.
        rounds_max: The most rounds.
    """

    costs: Costs
    deadline_s: float
    start_s: float = 0.0
    steps_max: int | None = None
    rounds_max: int = ROUNDS_MAX

    def rounds(self, tau: Sequence[float | Numbers]) -> Numbers:
        """Whole rounds that fit, as floats."""
        fit = self.costs.rounds(tau, deadline_s=self.deadline_s)
        return np.minimum(fit, float(self.rounds_max))

    def most(self) -> float:
        """The largest S_N of which a round may fit, and of which all tau are allowed."""
        times = self.costs.times
        step_s = max(times.step_s)
        left_s = self.deadline_s - times.rest_s(0)
        fits = left_s / step_s * (1 + 1e-12) if step_s > 0 else np.inf
        return max(1.0, min(fits, self.steps_max or np.inf, TAU_MAX))


class Objective(Protocol):
    """What is made least, for many plans at once."""

    def value(self, tau: Sequence[Numbers], *, mu: float, rounds: Numbers) -> Numbers:
        """Of each plan; infinite where it is no plan."""
        ...

    def lower(self, prefixes: Integers, *, mu: float, asked: Deadline, steps_max: int) -> Numbers:
        """Of each prefix of tau: nothing that begins so and fits has a value below this."""
        ...

    def steps_max(self, *, mu: float) -> float:
        """The largest S_N of which it is finite."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best plan, or one of those it was compared with."""

    tau: tuple[int, ...]
    mu: float
    rounds: int
    round_s: float
    value: float  # the objective's


def least(
    objective: Objective,
    asked: Deadline,
    *,
    mus: Sequence[float],
    known: Found | None = None,
    bits: int | None = None,
    kept_max: int | None = None,
) -> Found | None:
    """The plan of the least value; of equal ones that with the shorter round, then the first.

    Args:
        objective: What is made least.
        asked: What a plan must fit into.
        mus: Step sizes to choose from.
        known: A plan that it is compared with, which spares looking at worse ones.
        bits: Only counts of at most so many significant bits are looked at; None: all.
        kept_max: Of the prefixes of a step size and tier only so many are extended, those with the
            least lower bound; None: all.

    Returns:
        None where no plan that fits has a finite value.

    Raises:
        ConfigError: If not even one round fits; it names the least that does.
    """
    check_feasible(asked)
    best = known
    for coarse in (1, bits):  # first an idea of what is good, so that more is left early
        for mu in mus:
            taus = chains_within(objective, asked, mu, best, bits=coarse, kept_max=kept_max)
            best = better(best, _best_of(objective, asked, mu, taus))
    return best


def better(one: Found | None, other: Found | None) -> Found | None:
    """The one with the lesser value; see ``least`` for equal ones."""
    if one is None or other is None:
        return one or other
    return min(one, other, key=lambda found: (found.value, found.round_s, found.tau, found.mu))


def check_feasible(asked: Deadline) -> None:
    """Whether a round fits at all; that with all tau = 1 takes the least of everything.

    Raises:
        ConfigError: If not; it names the smallest deadline or budget in which one does.
    """
    ones = (1.0,) * asked.costs.links
    if asked.rounds(ones) >= 1:
        return
    listed = [1] * asked.costs.links
    for link, budget in enumerate(asked.costs.budgets, start=1):
        for name, given, needed_of in (
            ("round", budget.bytes_per_round, asked.costs.needed_per_round),
            ("day", budget.bytes_per_day, asked.costs.needed_per_day),
        ):
            if given is not None and (needed := needed_of(ones, link=link)) > given:
                raise ConfigError(
                    f"[[link]] {link} budget_bytes_per_{name} = {given} does not carry a round "
                    f"with tau = {listed}. Use {needed:.0f} or more, a codec that writes less, or "
                    "a smaller model."
                )
    shortest_s = float(asked.costs.round_s(ones))
    begins = f", and {asked.start_s:.4g} s pass before it begins" if asked.start_s else ""
    raise ConfigError(
        f"deadline_s = {asked.deadline_s + asked.start_s:g}: one round with tau = {listed} takes "
        f"{shortest_s:.4g} s{begins}, so the smallest deadline in which anything is trained is "
        f"{shortest_s + asked.start_s:.4g} s"
    )


def chains_within(
    objective: Objective,
    asked: Deadline,
    mu: float,
    best: Found | None,
    *,
    bits: int | None = None,
    kept_max: int | None = None,
) -> Integers:
    """tau_1..tau_N of every chain that no lower bound rules out, shape ``(k, N)``.

    Arguments are those of ``least``.
    """
    most = max(1, int(min(asked.most(), objective.steps_max(mu=mu))))
    worst = np.inf if best is None else best.value

    def left(prefixes: Integers) -> Integers:
        lower = objective.lower(prefixes, mu=mu, asked=asked, steps_max=most)
        kept = np.flatnonzero(lower <= worst)
        if kept_max is not None and len(kept) > kept_max:
            kept = np.sort(kept[np.argsort(lower[kept], kind="stable")[:kept_max]])
        return prefixes[kept]

    found = left(empty_prefix())
    for _ in range(asked.costs.links):
        found = left(extended(found, steps_max=most, bits=bits))
    return found


def _best_of(objective: Objective, asked: Deadline, mu: float, taus: Integers) -> Found | None:
    found: Found | None = None
    for start in range(0, len(taus), _BATCH):
        tau = [np.asarray(counts, np.float64) for counts in taus[start : start + _BATCH].T]
        rounds, round_s = asked.rounds(tau), asked.costs.round_s(tau)
        value = objective.value(tau, mu=mu, rounds=np.maximum(rounds, 1))
        value = np.where(rounds >= 1, value, np.inf)
        first = np.lexsort((*reversed(tau), round_s, value))[0]
        if np.isfinite(value[first]):
            this = Found(
                tau=tuple(int(counts[first]) for counts in tau),
                mu=mu,
                rounds=int(rounds[first]),
                round_s=float(round_s[first]),
                value=float(value[first]),
            )
            found = better(found, this)
    return found
