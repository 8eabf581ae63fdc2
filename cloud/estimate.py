"""From what a pilot found to the estimates that a planner takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from cloud.pilot import Findings
from fedtier.core.exchanges import Exchanges
from fedtier.core.measured import Measured
from fedtier.core.pilot import keeps_end, plan_of_round
from fedtier.errors import ConfigError
from fedtier.planner.estimates import Estimates, LinkEstimate, PilotRound
from fedtier.wire.plan import Plan

ESTIMATES_FILE = "estimates.json"

_INSTANT_S = 1e-6  # what takes no time, as in a simulation, counts as so long
_LEAST = 2.0**-20
"""Ratios of float32 vectors show no less: what is measured as smaller is this share of the rest."""


def estimates_of(
    findings: Sequence[Findings],
    exchanges: Mapping[int, Exchanges],
    plan: Plan,
    *,
    dimension: int,
    devices: Sequence[str],
    seconds: float,
) -> Estimates:
    """What the planner takes, out of a whole pilot.

    Constants are the largest seen, so they are lower estimates; see ``docs/theory.md``. Times are
    told by the nodes themselves, and are believed as far as they fit into the pilot.

    Args:
        findings: In their order.
        exchanges: How long updates took, by link.
        plan: The run's.
        dimension: d.
        devices: All of the tree; those that are not named with a step time have the others' mean.
        seconds: Of the whole pilot.

    Raises:
        ConfigError: If too few answered to estimate anything; it says what is missing.
    """
    gradients = [f for f in findings if f.task == "gradient" and f.measured.gradients.weight]
    smooth = [f.smoothness for f in gradients if f.smoothness]
    if not smooth:
        raise ConfigError(
            f"the pilot measured {len(gradients)} gradients at models that differ; two are needed. "
            "See the log for why devices abstained, and start another run."
        )
    progress = tuple(_progress(gradients, plan))
    if not progress:
        raise ConfigError(
            "the pilot measured gradients, but not before and after one of its rounds. See the log "
            "for why devices abstained, and start another run."
        )
    smoothness = max(smooth)
    each, mean = _curvatures(findings)
    within_s = max(seconds, _INSTANT_S)
    steps = [f.measured for f in findings if f.measured.steps.devices]
    return Estimates(
        dimension=dimension,
        step_s=_step_seconds(steps, devices, most_s=within_s / plan.tau[0]),
        link=tuple(
            _believed(link, dimension=dimension, within_s=within_s)
            for link in _links(findings, exchanges, plan)
        ),
        gap=max(_loss(gradients[0]), _LEAST),
        sigma2=max(f.measured.gradients.variance for f in gradients),
        zeta2=tuple(
            max(_spread(f, link) for f in gradients) for link in range(1, plan.tiers + 1)
        ),
        L=smoothness,
        Lh=max(smoothness if mean is None else mean, _LEAST * smoothness),
        Lv=max(smoothness if each is None else each, _LEAST * smoothness),
        progress=progress,
    )  # fmt: skip


def _curvatures(findings: Sequence[Findings]) -> tuple[float | None, float | None]:
    """Lv and Lh: the largest ratios of the changes of gradients to the devices' dispersion.

    What counts are gradients from all those devices whose end points have the model as their mean.
    None where no devices were apart: one alone, or end points that differ by roundings only.
    """
    each: list[float] = []
    mean: list[float] = []
    for before, found in pairwise(findings):
        sums, trained = found.measured.gradients, before.measured.steps.devices
        if not sums.weight or not sums.devices == sums.kept == trained:
            continue
        apart = math.sqrt(sums.moved / sums.weight)
        if apart > _LEAST * found.model:
            each.append(math.sqrt(sums.changed / sums.weight) / apart)
            mean.append(found.change / apart)
    return max(each, default=None), max(mean, default=None)


def _loss(found: Findings) -> float:
    return float(found.measured.gradients.loss / found.measured.gradients.weight)


def _spread(found: Findings, link: int) -> float:
    sums = found.measured.gradients
    return float(sums.spread.get(link, 0) / sums.weight)


def _links(
    findings: Sequence[Findings], exchanges: Mapping[int, Exchanges], plan: Plan
) -> Iterator[LinkEstimate]:
    quantized = [f for f in findings if f.task == "train" and not keeps_end(plan, f.round)]
    for link, codec in enumerate(plan.codecs, start=1):
        deltas = sum(f.measured.deltas.get(link, 0) for f in quantized)
        errors = sum(f.measured.q.get(link, 0) for f in quantized)
        rate, latency_s = exchanges.get(link, Exchanges()).rate_and_latency()
        yield LinkEstimate(
            codec=codec.name,
            parameters=dict(codec.parameters),
            q=float(errors / deltas) if deltas else None,
            rate_bytes_per_s=rate,
            latency_s=latency_s,
        )


def _believed(link: LinkEstimate, *, dimension: int, within_s: float) -> LinkEstimate:
    """A link that carried the first round's updates, in float32, within the pilot."""
    rate = link.rate_bytes_per_s
    if rate is not None:
        rate = max(rate, 4 * dimension / within_s)
    return replace(link, rate_bytes_per_s=rate, latency_s=min(link.latency_s, within_s))


def _step_seconds(
    steps: Sequence[Measured], devices: Sequence[str], *, most_s: float
) -> dict[str, float]:
    """Of each device its fastest round: in the first, graphs are opened."""
    found = dict.fromkeys(devices, math.inf)
    for measured in steps:
        times = measured.steps
        named = {device: micros for micros, device in times.slowest}
        others = times.devices - len(named)
        rest = (times.micros - sum(named.values())) / others if others > 0 else math.inf
        for device in found:
            found[device] = min(found[device], named.get(device, rest) / 1e6)
    return {
        device: min(max(seconds, 0.0), most_s)
        for device, seconds in found.items()
        if math.isfinite(seconds)
    }


def _progress(gradients: Sequence[Findings], plan: Plan) -> Iterator[PilotRound]:
    losses = {f.round: _loss(f) for f in gradients}
    for round_ in range(plan.pilot):
        if round_ in losses and round_ + 1 in losses:
            yield PilotRound(
                tau=plan_of_round(plan, round_).tau,
                mu=plan.mu,
                loss_before=losses[round_],
                loss_after=losses[round_ + 1],
            )
