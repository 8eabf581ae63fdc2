"""A chosen plan as a JSON document."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from fedtier.limits import DAY_S
from fedtier.planner.bound import Numbers
from fedtier.planner.choose import Alternative, Choice, tried_step_size


def document_of(choice: Choice) -> dict[str, Any]:
    """All that is said of a plan; what is infinite is None."""
    found, setting = choice.found, choice.setting
    tau = [np.asarray(float(count)) for count in found.tau]
    carried = [float(bytes_) for bytes_ in setting.costs.bytes_per_round(tau)]
    return {
        "kind": "fedtier plan 1",
        "federation": setting.federation.id,
        "deadline_s": choice.wish.deadline_s,
        "start_s": choice.wish.start_s,
        "tau": list(found.tau),
        "mu": found.mu,
        "schedule": setting.federation.plan.schedule.kind,
        "rounds": found.rounds,
        "round_s": found.round_s,
        "links": links_of(choice),
        "bytes_per_round": carried,
        "forecast": _forecast(choice),
        "guarantee": _guarantee(choice),
        "terms": {"forecast": forecast_terms(choice), "bound": _bound_terms(choice)},
        "binds": binds(choice),
        "alternatives": [_alternative(each, found.value) for each in choice.alternatives],
    }


def links_of(choice: Choice) -> list[dict[str, Any]]:
    """Link by link: what it sends with, and the seconds and bytes of one child in a round."""
    setting, round_s = choice.setting, choice.found.round_s
    rounds_a_day = min(choice.rounds, max(1, math.floor(DAY_S / round_s)))
    tau = [np.asarray(float(count)) for count in choice.found.tau]
    costs = setting.costs
    counts = setting.costs.exchanges_per_round(tau)
    rows = []
    for number, (link, each, count, budget) in enumerate(
        zip(setting.links, costs.exchanges, counts, costs.budgets, strict=True), 1
    ):
        limits = {name: limit for name, limit in asdict(budget).items() if limit is not None}
        up_s = float(count) * each.bytes_up / round_s
        needed = {
            "bytes_per_round": int(costs.needed_per_round(tau, link=number)),
            "bytes_per_day": int(costs.needed_per_day(tau, link=number, rounds=rounds_a_day)),
            "rate_bytes_per_s": up_s,
            "airtime_share_max": up_s / (budget.rate_bytes_per_s or up_s),
        }
        rows.append(
            {
                "link": number,
                "codec": link.codec.name,
                "parameter": link.parameters,
                "bytes_per_update": link.codec.payload_bytes(setting.estimates.dimension),
                "q": link.q,
                "q_source": link.q_source,
                "exchanges_per_round": int(count),
                "bytes_up_per_round": int(count) * each.bytes_up,
                "bytes_down_per_round": int(count) * each.bytes_down,
                "seconds_per_round": float(count) * each.seconds,
                "budget": limits,
                "needed": {name: needed[name] for name in limits},
            }
        )
    return rows


def forecast_terms(choice: Choice) -> dict[str, Any]:
    """What becomes of the run's local steps, in reach."""
    found = choice.found
    tau = [np.asarray(float(count)) for count in found.tau]
    lost = choice.setting.forecast.progress(tau, mu=found.mu, rounds=float(found.rounds))
    return {
        "steps": float(lost.steps),
        "drift": [float(each) for each in lost.drift],
        "noise": float(lost.noise),
        "quantization": [float(each) for each in lost.quantization],
        "reach": float(lost.reach),
    }


def binds(choice: Choice) -> str:
    """What keeps the run from getting further: a word, and the link where it is one."""
    found, costs = choice.found, choice.setting.costs
    tau = [np.asarray(float(count)) for count in found.tau]
    if choice.unbudgeted is not None:
        return "budget"
    if found.round_s > float(costs.times.round_s(tau)) * (1 + 1e-9):
        return "airtime"
    seconds = {f"link {row['link']}": row["seconds_per_round"] for row in links_of(choice)}
    seconds["local steps"] = math.prod(found.tau) * max(costs.times.step_s)
    return max(seconds, key=lambda name: float(seconds[name]))


def _forecast(choice: Choice) -> dict[str, Any]:
    forecast = choice.setting.forecast
    return {
        "loss": choice.found.value,
        "loss_after_first_round": forecast.floor + forecast.problem.gap,
        "mu_tried": tried_step_size(choice.setting),
        "reach": forecast_terms(choice)["reach"],
        "coefficients": {
            "floor": forecast.floor,
            "scale": forecast.scale,
            "power": forecast.power,
            "drift": forecast.drift,
        },
    }


def _guarantee(choice: Choice) -> dict[str, Any]:
    found, theorem = choice.found, choice.guarantee
    return {
        "holds": bool(theorem.holds),
        "B": _finite(theorem.value),
        "cloud": _finite(theorem.cloud),
        "omega": _finite(theorem.omega),
        "gamma": _finite(theorem.gamma),
        "L_mu": choice.setting.estimates.L * found.mu,
        "mu_max": choice.mu_max,
    }


def _bound_terms(choice: Choice) -> Mapping[str, float | None]:
    theorem = choice.guarantee
    named = {
        "optimisation": theorem.optimisation,
        "noise": theorem.noise,
        "quantization": theorem.quantization,
        "drift": theorem.drift,
    }
    return {name: _finite(term) if bool(theorem.holds) else None for name, term in named.items()}


def _alternative(each: Alternative, best: float) -> dict[str, Any]:
    fits = each.rounds > 0
    return {
        "name": each.name,
        "tau": list(each.tau),
        "mu": each.mu,
        "rounds": each.rounds,
        "loss": each.loss if fits else None,
        "worse_by": each.loss - best if fits else None,
    }


def _finite(number: float | Numbers) -> float | None:
    return float(number) if np.isfinite(number) else None
