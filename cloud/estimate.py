"""From what a pilot found to the estimates that a planner takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from cloud.pilot import Findings
from fedtier.core.pilot import asks_gradient, keeps_end, plan_of_round
from fedtier.errors import ConfigError
from fedtier.planner.corrected import parts_of_round
from fedtier.planner.estimates import Estimates, LinkEstimate, PilotRound
from fedtier.planner.setting import exchange_of
from fedtier.planner.typical import typical_estimates
from fedtier.quantize.registry import make_codec
from fedtier.topology import Topology
from fedtier.wire.plan import Plan

ESTIMATES_FILE = "estimates.json"

_SHOWN_S = 1e-6  # times are told in microseconds
_LATE_MIN = 1.001  # below it times differ by their roundings
_LEAST = 2.0**-20
"""Ratios of float32 vectors show no less: what is measured as smaller is this share of the rest."""


def estimates_of(
    findings: Sequence[Findings],
    plan: Plan,
    topology: Topology,
    *,
    dimension: int,
    part_bytes: int,
    least: float,
) -> Estimates:
    """What the planner takes, out of a whole pilot.

    Constants are the largest seen, so they are lower estimates; see ``docs/theory.md``. Times are
    told by the nodes themselves, and are believed as far as they fit into a round.

    Args:
        findings: In their order.
        plan: The run's.
        topology: Whose devices, if they are not named with a step time, have the others' mean, and
            those that were away the slowest's.
        dimension: d.
        part_bytes: The largest message.
        least: What is known of the least loss there is: see ``Loss.least``.

    Raises:
        ConfigError: If too few answered to estimate anything; it says what is missing.
    """
    gradients = [f for f in findings if f.task == "gradient" and f.measured.gradients.weight]
    smooth = [f.smoothness for f in gradients if f.smoothness]
    if not smooth:
        raise ConfigError(
            f"the pilot measured {len(gradients)} gradients, and no two of them at models that "
            "differ, as is needed. See the log for why devices abstained, and start another run."
        )
    progress = tuple(_progress(gradients, plan))
    if not progress:
        raise ConfigError(
            "the pilot measured gradients, but not before and after one of its rounds. See the log "
            "for why devices abstained, and start another run."
        )
    smoothness = max(smooth)
    each, mean = _curvatures(findings)
    return Estimates(
        dimension=dimension,
        step_s=_step_seconds(findings, plan, topology),
        link=tuple(
            _links(findings, plan, topology, dimension=dimension, part_bytes=part_bytes)
        ),
        gap=max(_loss(gradients[0]) - least, _LEAST),
        sigma2=max(f.measured.gradients.variance for f in gradients),
        zeta2=tuple(
            max(_spread(f, link) for f in gradients) for link in range(1, plan.tiers + 1)
        ),
        L=smoothness,
        Lh=max(smoothness if mean is None else mean, _LEAST * smoothness),
        Lv=max(smoothness if each is None else each, _LEAST * smoothness),
        progress=progress,
    )  # fmt: skip


def estimates_by_times(
    finding: Findings,
    plan: Plan,
    topology: Topology,
    *,
    dimension: int,
    part_bytes: int,
    loss: float,
    least: float,
) -> Estimates:
    """What the planner takes out of the first round alone: its times, and what is typical.

    Args:
        finding: Of that round.
        plan: The run's.
        topology: Of the run.
        dimension: d.
        part_bytes: The largest message.
        loss: The mean training loss of that round, in nats.
        least: What is known of the least loss there is.
    """
    return typical_estimates(
        dimension=dimension,
        step_s=_step_seconds([finding], plan, topology),
        link=list(_links([finding], plan, topology, dimension=dimension, part_bytes=part_bytes)),
        loss=max(loss, least + _LEAST),
        least=least,
        tau=plan_of_round(plan, finding.round).tau,
        mu=plan.mu,
    )


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
    findings: Sequence[Findings], plan: Plan, topology: Topology, *, dimension: int, part_bytes: int
) -> Iterator[LinkEstimate]:
    timed = _timed(findings, plan)
    rounds = [f for f in findings if f.task == "train"]
    quantized = [f for f in rounds if not keeps_end(plan, f.round)]
    for link, codec in enumerate(plan.codecs, start=1):
        deltas = sum(f.measured.deltas.get(link, 0) for f in quantized)
        errors = sum(f.measured.q.get(link, 0) for f in quantized)
        exchanges = []
        for f, seconds in timed:
            its = plan_of_round(plan, f.round)
            taken = parts_of_round(f.spans, tau=its.tau, round_s=seconds)
            if link not in taken:
                continue
            sent = make_codec(its.codecs[link - 1].name, dict(its.codecs[link - 1].parameters))
            each = exchange_of(topology, link, sent, dimension=dimension, part_bytes=part_bytes)
            # Where a gradient was asked for at its model, that was there already.
            moved = each.bytes_up if asks_gradient(plan, f.round) else each.bytes
            exchanges.append((moved, each.trips, taken[link]))
        rate, latency_s = rate_and_latency(exchanges)
        yield LinkEstimate(
            codec=codec.name,
            parameters=dict(codec.parameters),
            q=float(errors / deltas) if deltas else None,
            rate_bytes_per_s=rate,
            latency_s=latency_s,
        )


def rate_and_latency(points: Sequence[tuple[int, int, float]]) -> tuple[float | None, float]:
    """Of a link, by least squares over exchanges: seconds are bytes by the rate, and the trips'.

    Args:
        points: Of each its bytes, its trips to the parent and back, and its seconds.

    Returns:
        Bytes a second, and the seconds of a trip. No rate where larger exchanges took no longer;
        no latency where bytes alone explain more than was taken.
    """
    if not points:
        return None, 0.0
    sizes, trips, seconds = (np.array(each, np.float64) for each in zip(*points, strict=True))
    latency_s = float(trips @ seconds / (trips @ trips))
    apart = sizes - trips * (trips @ sizes) / (trips @ trips)
    if apart @ apart <= _LEAST * (sizes @ sizes):
        return None, latency_s  # all alike
    per_byte = float(apart @ seconds / (apart @ apart))
    if per_byte * np.ptp(sizes) < _SHOWN_S:
        return None, latency_s
    beside_s = float(trips @ (seconds - per_byte * sizes) / (trips @ trips))
    if beside_s < 0:
        return float(sizes @ sizes / (sizes @ seconds)), 0.0
    return 1 / per_byte, beside_s


def _timed(findings: Sequence[Findings], plan: Plan) -> list[tuple[Findings, float]]:
    """Rounds that tell times, and their seconds: those that the cloud has seen from their opening.

    Where there is none, the others: of these the nodes beneath have seen all.
    """
    rounds = [f for f in findings if f.task == "train"]
    whole = [(f, f.seconds) for f in rounds if f.seconds is not None]
    if whole:
        return whole
    return [
        (replace(f, spans={n: span for n, span in f.spans.items() if n < plan.tiers}), math.inf)
        for f in rounds
    ]


def _step_seconds(findings: Sequence[Findings], plan: Plan, topology: Topology) -> dict[str, float]:
    """Of each device its fastest round, longer by what a cell waits for whoever is late in turn."""
    found = {str(device): math.inf for device in topology.devices()}
    timed = _timed(findings, plan)
    for finding, seconds in timed:
        times = finding.measured.steps
        named = {device: micros for micros, device in times.slowest}
        others = times.devices - len(named)
        rest = (times.micros - sum(named.values())) / others if others > 0 else math.inf
        most_s = seconds / plan.tau[0]
        for device, known_s in found.items():
            told_s = max(named.get(device, rest) / 1e6, 0.0)
            if math.isfinite(told_s):
                found[device] = min(known_s, told_s, most_s)
    known = [step_s for step_s in found.values() if math.isfinite(step_s)]
    if not known:
        return {}
    slowest_s = max(known)  # what is taken for a device that was away
    late = _lateness(timed, plan, slowest_s)
    return {device: late * min(step_s, slowest_s) for device, step_s in found.items()}


def _lateness(timed: Sequence[tuple[Findings, float]], plan: Plan, slowest_s: float) -> float:
    """How much longer the steps of an iteration take than the slowest device's, when it is quick.

    Now one device is late and now another, and a cell waits for each. The first round, in which
    graphs are opened, tells nothing of that.
    """
    waited = []
    for finding, seconds in timed:
        if finding.round > 0:
            tau = plan_of_round(plan, finding.round).tau
            taken = parts_of_round(finding.spans, tau=tau, round_s=seconds)
            waited += [taken[0]] if 0 in taken else []
    mean_s = sum(waited) / len(waited) if waited else 0.0
    return mean_s / slowest_s if mean_s > _LATE_MIN * slowest_s > 0 else 1.0


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
