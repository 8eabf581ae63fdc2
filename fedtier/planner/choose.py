"""Choose the plan that a forecast likes best within a deadline, and say how it compares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fedtier.budget import Budget
from fedtier.errors import ConfigError
from fedtier.limits import ROUNDS_MAX
from fedtier.planner.bound import Bound, bound
from fedtier.planner.least_bound import LeastBound
from fedtier.planner.search import Deadline, Found, better, least
from fedtier.planner.setting import LinkChoice, Setting, link_choice

MU_STEPS = tuple(10 ** (-k / 4) for k in range(9))
"""Shares of the pilot's step size that are tried, from itself to a hundredth."""
LEVELS = (1, 3, 7, 15, 31, 63, 127)
"""Of qsgd: what fills 2 to 8 bits a coordinate."""
_BUCKET = 128
BITS = 5
"""Of counts that are chosen by the forecast, which is too flat to tell 200 from 201."""
KEPT_MAX = 10_000
"""Prefixes: some hundred are left by what is measured, and any number by what is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for.

    Attributes:
        deadline_s: Seconds for the whole run.
        start_s: How many of them pass before its first round: see ``Setting.start_s``.
        mu: A step size to keep to; None: the best of those up to the pilot's.
        codecs: Whether the links' codecs are chosen, too.
        steps_max: The most local steps in a round; None: what fits.
        rounds_max: The most rounds.
    """

    deadline_s: float
    start_s: float = 0.0
    mu: float | None = None
    codecs: bool = False
    steps_max: int | None = None
    rounds_max: int = ROUNDS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A plan beside the chosen one.

    Attributes:
        name: What it is, in words.
        tau: tau_1..tau_N.
        mu: Its step size.
        rounds: How many fit; 0 where none does, within deadline and budgets.
        loss: Its forecast; infinite where no round fits.
    """

    name: str
    tau: tuple[int, ...]
    mu: float
    rounds: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The chosen plan with all that is said of it.

    Attributes:
        wish: What was asked.
        setting: With the chosen codecs.
        found: The plan; its value is the forecast loss.
        guarantee: The theorem at this plan.
        mu_max: The largest step size at which the theorem holds for this tau; 0: at none.
        alternatives: Others, the file's own first if it has one.
        unbudgeted: What would be chosen if links had no budgets; None where that is the same.
    """

    wish: Wish
    setting: Setting
    found: Found
    guarantee: Bound
    mu_max: float
    alternatives: tuple[Alternative, ...]
    unbudgeted: Found | None = field(default=None)

    @property
    def tau(self) -> tuple[int, ...]:
        """tau_1..tau_N."""
        return self.found.tau

    @property
    def mu(self) -> float:
        """The step size."""
        return self.found.mu

    @property
    def rounds(self) -> int:
        """How many rounds fit."""
        return self.found.rounds

    def __str__(self) -> str:
        """The plan in a line; ``fedtier plan`` prints all that is said of it."""
        return (
            f"tau = {list(self.tau)}, mu = {self.mu:.4g}: {self.rounds} rounds of "
            f"{self.found.round_s:.4g} s, a forecast loss of {self.found.value:.3f}"
        )


def choose(setting: Setting, wish: Wish) -> Choice:
    """The plan with the least forecast loss within deadline and budgets.

    Args:
        setting: The federation, with its file's codecs.
        wish: What is asked for.

    Raises:
        ConfigError: If not even one round fits; it names the least deadline or budget.
    """
    setting, found = best(setting, wish)
    tau = [np.asarray(float(count)) for count in found.tau]
    problem = setting.guaranteed_problem()
    grid = np.geomspace(1e-4, 1.0, 401) / problem.smoothness
    holds = bound(setting.tree, problem, tau=tau, mu=grid, rounds=found.rounds).holds
    return Choice(
        wish=wish,
        setting=setting,
        found=found,
        guarantee=bound(setting.tree, problem, tau=tau, mu=found.mu, rounds=found.rounds),
        mu_max=float(grid[holds].max()) if holds.any() else 0.0,
        alternatives=tuple(_alternatives(setting, wish, found)),
        unbudgeted=_unbudgeted(setting, wish, _step_sizes(setting, wish), found),
    )


def best(setting: Setting, wish: Wish) -> tuple[Setting, Found]:
    """The plan of ``choose`` alone, with its codecs: what is compared with it takes much longer.

    Raises:
        ConfigError: As ``choose``.
    """
    mus = _step_sizes(setting, wish)
    found = _search(setting, wish, mus)
    return _with_codecs(setting, wish, mus, found) if wish.codecs else (setting, found)


def tried_step_size(setting: Setting) -> float:
    """The largest step size with which a round of the pilot lowered the loss.

    Raises:
        ConfigError: If none did.
    """
    tried = [p.mu for p in setting.estimates.progress if p.loss_after < p.loss_before]
    if not tried:
        raise ConfigError(
            "progress: no round of the pilot lowered the loss. Run one with a smaller mu."
        )
    return max(tried)


def _step_sizes(setting: Setting, wish: Wish) -> Sequence[float]:
    if wish.mu is not None:
        return [wish.mu]
    return [tried_step_size(setting) * share for share in MU_STEPS]


def _asked(setting: Setting, wish: Wish) -> Deadline:
    return Deadline(
        costs=setting.costs,
        deadline_s=wish.deadline_s - wish.start_s,
        start_s=wish.start_s,
        steps_max=wish.steps_max,
        rounds_max=wish.rounds_max,
    )


def _search(
    setting: Setting, wish: Wish, mus: Sequence[float], known: Found | None = None
) -> Found:
    found = least(
        setting.forecast, _asked(setting, wish), mus=mus, known=known, bits=BITS, kept_max=KEPT_MAX
    )
    assert found is not None, "a round fits, and a forecast is finite for every plan"
    return found


def _with_codecs(
    setting: Setting, wish: Wish, mus: Sequence[float], found: Found
) -> tuple[Setting, Found]:
    """One link after the other its best codec with the best tau, until none is better."""
    again = True
    while again:
        again = False
        for number in range(1, len(setting.links) + 1):
            for choice in _codecs(setting, number):
                other = setting.with_link(number, choice)
                this = _search(other, wish, mus, known=found)
                if this is not found and better(this, found) is this and this.value < found.value:
                    setting, found, again = other, this, True
    return setting, found


def _codecs(setting: Setting, number: int) -> Iterator[LinkChoice]:
    present = setting.links[number - 1]
    bucket = present.parameters.get("bucket", _BUCKET)
    for levels in LEVELS:
        parameters = {"levels": levels, "bucket": bucket}
        if parameters != present.parameters:
            yield link_choice(setting.estimates, number, "qsgd", parameters)


def _alternatives(setting: Setting, wish: Wish, found: Found) -> Iterator[Alternative]:
    plan = setting.federation.plan
    if plan.auto is None:  # else the file has no tau
        yield _alternative(setting, wish, "the file's tau and mu", plan.tau, plan.schedule.mu)
        if found.mu != plan.schedule.mu:
            yield _alternative(setting, wish, "the file's tau, this mu", plan.tau, found.mu)
    for link, count in enumerate(found.tau):
        for name, other in (("twice", 2 * count), ("half", count // 2)):
            if other >= 1:
                tau = (*found.tau[:link], other, *found.tau[link + 1 :])
                yield _alternative(setting, wish, f"{name} tau_{link + 1}", tau, found.mu)
    objective = LeastBound(tree=setting.tree, problem=setting.guaranteed_problem())
    mus = np.geomspace(0.003, 1.0, 24) / setting.estimates.L
    safest = least(
        objective, _asked(setting, wish), mus=[float(mu) for mu in mus], bits=BITS,
        kept_max=KEPT_MAX,
    )  # fmt: skip
    if safest is not None:
        yield _alternative(setting, wish, "the least bound", safest.tau, safest.mu)


def _alternative(
    setting: Setting, wish: Wish, name: str, tau: Sequence[int], mu: float
) -> Alternative:
    counts = [np.asarray(float(count)) for count in tau]
    rounds = int(_asked(setting, wish).rounds(counts))
    loss = float(setting.forecast.value(counts, mu=mu, rounds=np.asarray(max(rounds, 1))))
    return Alternative(
        name=name, tau=tuple(tau), mu=mu, rounds=rounds, loss=loss if rounds else float("inf")
    )


def _unbudgeted(setting: Setting, wish: Wish, mus: Sequence[float], found: Found) -> Found | None:
    if all(budget == Budget() for budget in setting.costs.budgets):
        return None
    asked = replace(_asked(setting, wish), costs=setting.costs.without_budgets())
    other = least(setting.forecast, asked, mus=mus, bits=BITS, kept_max=KEPT_MAX)
    same = other is None or (other.tau, other.mu, other.rounds) == (
        found.tau, found.mu, found.rounds,
    )  # fmt: skip
    return None if same else other
