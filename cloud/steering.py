"""A run whose plan follows what is measured: chosen after the pilot, again when times change.

What is decided holds from the next round on. Every decision is a line of ``plans.jsonl`` with its
reason; what the next decision needs is durable before the round's model is.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from cloud.round_lines import RoundLines
from fedtier.config.federation import Federation
from fedtier.config.federation_tables import AutoTable
from fedtier.core.events import Onward
from fedtier.errors import ConfigError
from fedtier.ids import RunId, hex64
from fedtier.limits import GRADIENT_BATCHES_MAX, PILOT_ROUNDS_MIN
from fedtier.planner.choose import Wish, best
from fedtier.planner.corrected import changed, corrections, parts_of_round
from fedtier.planner.estimates import Estimates, estimates_json, parse_estimates
from fedtier.planner.search import Found
from fedtier.planner.setting import Setting
from fedtier.planner.typical import typical_estimates
from fedtier.storage.records import FileRecord
from fedtier.wire.fields import Fields
from fedtier.wire.plan import CodecSpec, Plan

log = logging.getLogger(__name__)

PLANS_FILE = "plans.jsonl"

_ODD_ROUNDS = 2  # in a row, before anything is changed: one may be an accident
_WORTH = 0.99  # of the forecast loss of going on as before: what is not better is not changed
_PILOT_VECTORS = 7  # float32 vectors that the shortest pilot moves over a link
_KEPT = 2  # states: the newest may be of a round that is not durable
_BY_TIMES = "by the times of one round: the deadline is too short for a pilot"
_INSTANT_S = 1e-6  # what takes no time, as in a simulation, counts as so long


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a decision starts from, after some rounds of a run."""

    done: int  # rounds
    seconds: float  # of the run so far
    plan: Plan
    pilot_s: float = 0.0  # seconds of the run when it was first planned
    round_s: float | None = None  # what a round was planned to take; None before the first plan
    next_s: float = 0.0  # what the next one is expected to take, by the latest
    start_s: float = 0.0  # before the next one begins: of a run of which nobody has heard yet
    slack: float = 1.0  # how much longer rounds take than the estimates explain
    odd: int = 0  # rounds in a row that took other times
    estimates: str = ""  # the document; empty where there are none

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return named | {"plan": self.plan.to_json()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """What was stored by ``to_json``."""
        plan = Plan.from_fields(Fields(document["plan"], what="steering.record"))
        return cls(**{**document, "plan": plan})


class Steering:
    """Decides for one run; see the module."""

    def __init__(
        self, federation: Federation, asked: Plan, *, run: RunId, state_dir: Path, run_dir: Path
    ) -> None:
        """Take up what an earlier boot of this run decided, if there was one.

        Args:
            federation: With ``plan.auto``.
            asked: The plan the run began with: its pilot's.
            run: The run.
            state_dir: Where ``steering.record`` lies.
            run_dir: Where ``plans.jsonl`` is written.

        Raises:
            StorageError: If the disk does not give the record or the lines.
        """
        assert federation.plan.auto is not None, "nothing is to be steered"
        self._auto: AutoTable = federation.plan.auto
        self._federation = federation
        self._asked = asked
        self._run = run
        self._record = FileRecord(state_dir / "steering.record")
        self._lines = RoundLines(run_dir / PLANS_FILE, of="after_round")
        self._states = [State(done=0, seconds=0.0, plan=asked)]
        stored = self._record.read()
        if stored is not None and stored[0]["run"] == hex64(run):
            self._states = [State.from_json(each) for each in stored[0]["states"]]

    def resume(self, rounds_done: int, *, seconds: float) -> Onward | None:
        """How a run goes on that has so many rounds in its model.

        Later states are of rounds that are not durable, and are forgotten. Where the newest is of
        an earlier round, what was decided since is lost.

        Args:
            rounds_done: Rounds in the model.
            seconds: When the last of them closed.
        """
        began = State(done=0, seconds=0.0, plan=self._asked)
        known = [each for each in self._states if each.done <= rounds_done] or [began]
        if known[-1].done < rounds_done:
            known = [replace(known[-1], done=rounds_done, seconds=seconds)]
        self._states = known
        self._lines.drop(rounds_done + 1)
        return None if self._state.round_s is None else self._onward(self._state)

    @property
    def plan(self) -> Plan:
        """By which the run goes on now."""
        return self._state.plan

    @property
    def decisions(self) -> list[dict[str, Any]]:
        """All of the run so far, oldest first: the lines of ``plans.jsonl``."""
        return self._lines.rows

    @property
    def seconds(self) -> float:
        """Of the run, when it was last decided how it goes on."""
        return self._state.seconds

    def is_pilot_over(self, round_: int, *, seconds: float) -> bool:
        """Whether the gradient before a round is the pilot's last: planned so, or for time.

        Args:
            round_: Before which it was measured.
            seconds: Of the run so far.
        """
        if self._state.round_s is not None or round_ < PILOT_ROUNDS_MIN:
            return False
        next_s = seconds / (round_ - 1)  # a round and its gradient; the first round is in it, too
        return round_ >= self._asked.pilot or not self._affords(seconds + next_s)

    def first(self, estimates: Estimates | None, *, seconds: float, reason: str = "") -> Onward:
        """Plan for the first time.

        Args:
            estimates: The pilot's, or of times alone; None where it failed.
            seconds: Of the run so far.
            reason: Why there are none, or no more than times.

        Raises:
            ConfigError: If a run that has no rounds behind it cannot be planned by them: they are
                of another federation, or no round fits into the deadline.
        """
        done = self._state.done
        pilot = min(self._asked.pilot, done) if done >= PILOT_ROUNDS_MIN else 0
        plan = replace(self._state.plan, pilot=pilot)
        before = replace(self._state, seconds=seconds, pilot_s=seconds, plan=plan)
        if estimates is None:
            return self._without(before, f"not planned: {reason}")
        # What one round told, one other is enough to correct.
        odd = _ODD_ROUNDS - 1 if 0 < done < PILOT_ROUNDS_MIN else 0
        before = replace(before, estimates=estimates_json(estimates), odd=odd)
        after = f"after a pilot of {done} rounds" if done else "by earlier estimates"
        return self._planned(before, estimates, reason=reason or after)

    def after_round(
        self,
        done: int,
        spans: Mapping[int, int] | None,
        *,
        seconds: float,
        by_times: Estimates | None = None,
    ) -> Onward | None:
        """Go on after a round; another plan where two have taken other times than planned.

        Args:
            done: Rounds in the model.
            spans: What the round's time went into: see ``Figures``. None: an earlier boot had
                opened it, so that what is known of its time is not all.
            seconds: Of the run so far.
            by_times: What a pilot's first round told, if it did: where there is no time for more of
                the pilot, the run is planned by it.

        Returns:
            None in the pilot, which has its own plan.
        """
        last = self._state
        state = replace(last, done=done, seconds=seconds, start_s=0.0)
        if last.round_s is None:
            if seconds >= self._deadline_s:
                over = replace(state, pilot_s=seconds, plan=replace(state.plan, pilot=0))
                return self._without(over, "not planned: the deadline is over")
            self._keep(state)
            if by_times is None or self._affords_pilot(by_times, seconds=seconds):
                return None
            return self.first(by_times, seconds=seconds, reason=_BY_TIMES)
        if spans is None:
            return self._go(self._fitted(state, last.next_s))
        measured_s = max(seconds - last.seconds - last.start_s, _INSTANT_S)
        ratio, factor = measured_s / last.round_s, self._auto.replan_factor
        state = replace(state, odd=last.odd + 1 if not 1 / factor <= ratio <= factor else 0)
        if state.odd >= _ODD_ROUNDS and state.estimates:
            return self._replanned(state, last, spans, measured_s)
        return self._go(self._fitted(state, (last.next_s + measured_s) / 2))

    # Inside

    @property
    def _state(self) -> State:
        return self._states[-1]

    @property
    def _deadline_s(self) -> float:
        return self._auto.deadline_s

    def _affords(self, seconds: float) -> bool:
        return seconds <= self._auto.pilot_share * self._deadline_s

    def _affords_pilot(self, by_times: Estimates, *, seconds: float) -> bool:
        """Whether the shortest pilot there is fits into its share of the deadline.

        It is begun, too, where the first round told too little to say: a device was away.
        """
        try:
            setting = Setting.of(self._federation, by_times)
        except ConfigError:
            return True
        # Two gradients and a round: up two vectors and one and two, and the model down twice. That
        # all of an exchange is bytes is the worst.
        moved = _PILOT_VECTORS * 4 * by_times.dimension
        lines_s = sum(each.seconds * moved / each.bytes for each in setting.costs.exchanges)
        steps = 3 * GRADIENT_BATCHES_MAX + self._asked.tau[0]
        return self._affords(seconds + lines_s + steps * max(by_times.step_s.values()))

    def _replanned(
        self, state: State, last: State, spans: Mapping[int, int], measured_s: float
    ) -> Onward:
        """Correct the estimates by what steps and links took, then plan what is left."""
        assert last.round_s is not None
        known = parse_estimates(state.estimates, where="steering.record")
        setting = Setting.of(self._federation, known)
        taken = parts_of_round(spans, tau=state.plan.tau, round_s=measured_s)
        why = changed(setting, taken, factor=self._auto.replan_factor)
        tau = [np.asarray(float(count)) for count in state.plan.tau]
        explained = [
            (float(Setting.of(self._federation, each).costs.round_s(tau)), each)
            for each in corrections(setting, taken, why)
        ]
        explained_s, estimates = min(
            explained, key=lambda found: abs(math.log(measured_s / max(found[0], _INSTANT_S)))
        )
        reason = f"rounds took {measured_s:.2f} s where {last.round_s:.2f} s were planned"
        return self._planned(
            replace(
                state,
                slack=measured_s / max(explained_s, _INSTANT_S),
                odd=0,
                estimates=estimates_json(estimates),
            ),
            estimates,
            reason="; ".join([reason, *why.values()]),
        )

    def _planned(self, state: State, estimates: Estimates, *, reason: str) -> Onward:
        left_s = (self._deadline_s - state.seconds) / state.slack
        if left_s <= 0:
            return self._without(state, f"{reason}; no plan: the deadline is over")
        try:
            setting = Setting.of(self._federation, estimates)
        except ConfigError as error:
            return self._by_times(state, estimates, f"{reason}; {error}")
        if not state.done:
            state = replace(state, start_s=setting.start_s)
        wish = Wish(
            deadline_s=left_s,
            start_s=state.start_s,
            mu=self._federation.plan.schedule.mu if self._auto.keep_mu else None,
            codecs=self._auto.codecs,
            rounds_max=max(1, self._asked.rounds - state.done),
        )
        try:
            chosen, found = best(setting, wish)
        except ConfigError as error:
            return self._without(state, f"{reason}; no plan: {error}")
        if state.round_s is not None and not self._is_worth_it(state, setting, wish, found):
            tau = [np.asarray(float(count)) for count in state.plan.tau]
            round_s = state.slack * float(setting.costs.round_s(tau))
            return self._decided(state, round_s, f"{reason}; no plan is better")
        plan = replace(
            state.plan,
            tau=found.tau,
            mu=found.mu,
            codecs=tuple(
                CodecSpec(name=link.codec.name, parameters=tuple(sorted(link.parameters.items())))
                for link in chosen.links
            ),
        )
        planned = replace(state, plan=plan)
        return self._decided(planned, state.slack * found.round_s, reason, forecast=found.value)

    def _by_times(self, state: State, estimates: Estimates, reason: str) -> Onward:
        """Plan by times alone where no forecast can be made of the rest."""
        first = estimates.progress[0]
        by_times = typical_estimates(
            dimension=estimates.dimension, step_s=estimates.step_s, link=estimates.link,
            loss=first.loss_before, least=first.loss_before - estimates.gap,
            tau=first.tau, mu=first.mu,
        )  # fmt: skip
        try:
            Setting.of(self._federation, by_times)
        except ConfigError:  # nor would they do later
            return self._without(replace(state, estimates=""), f"{reason}; no plan")
        planned = replace(state, estimates=estimates_json(by_times))
        return self._planned(planned, by_times, reason=f"{reason} Planned by times alone.")

    def _is_worth_it(self, state: State, setting: Setting, wish: Wish, found: Found) -> bool:
        """Whether the chosen plan is forecast to be better than to go on by the present one."""
        tau = [np.asarray(float(count)) for count in state.plan.tau]
        rounds = min(float(setting.costs.rounds(tau, deadline_s=wish.deadline_s)), wish.rounds_max)
        if rounds < 1:
            return True
        kept = setting.forecast.value(tau, mu=state.plan.mu, rounds=np.asarray(rounds))
        return found.value < _WORTH * float(kept)

    def _without(self, state: State, reason: str) -> Onward:
        """Go on by the plan there is, in rounds as long as the last ones were."""
        if not state.done:
            raise ConfigError(f"{self._federation.where} [plan.auto]: {reason}")
        log.warning("run not planned", extra={"seconds": state.seconds, "reason": reason})
        round_s = state.round_s or state.seconds / state.done
        return self._decided(state, round_s, reason)

    def _fitted(self, state: State, next_s: float) -> State:
        """With as many rounds more as fit when each takes so long."""
        # The time left is a multiple of a round, to rounding, where all went as planned.
        left_s = self._deadline_s - state.seconds - state.start_s
        more = max(0, math.floor(left_s / next_s * (1 + 1e-9)))
        rounds = min(self._asked.rounds, state.done + more)
        return replace(state, next_s=next_s, plan=replace(state.plan, rounds=rounds))

    def _onward(self, state: State) -> Onward:
        """The schedule runs with the time from the first plan to the deadline."""
        whole_s = max(self._deadline_s - state.pilot_s, 1e-9)
        p0 = min(1.0, max(0.0, (state.seconds - state.pilot_s) / whole_s))
        last = state.plan.rounds <= state.done + 1
        p1 = 1.0 if last else min(1.0, p0 + state.next_s / whole_s)
        return Onward(plan=state.plan, p0=p0, p1=max(p0, p1))

    def _go(self, state: State) -> Onward:
        self._keep(state)
        return self._onward(state)

    def _decided(
        self, state: State, round_s: float, reason: str, *, forecast: float | None = None
    ) -> Onward:
        """Have rounds of so many seconds for planned, and write down why."""
        round_s = max(round_s, _INSTANT_S)
        state = self._fitted(replace(state, round_s=round_s), round_s)
        plan = state.plan
        said = {"rounds": plan.rounds, "round_s": round(round_s, 3), "reason": reason}
        codecs = [{"codec": c.name, **dict(c.parameters)} for c in plan.codecs]
        row = {"after_round": state.done, "seconds": round(state.seconds, 3), **said}
        row |= {"tau": list(plan.tau), "mu": plan.mu, "links": codecs, "forecast_loss": forecast}
        self._lines.add(row)
        log.info("run planned", extra={"tau": list(plan.tau), "mu": plan.mu} | said)
        return self._go(state)

    def _keep(self, state: State) -> None:
        earlier = [each for each in self._states if each.done < state.done]
        self._states = [*earlier, state][-_KEPT:]
        states = [each.to_json() for each in self._states]
        self._record.write({"run": hex64(self._run), "states": states}, {})
