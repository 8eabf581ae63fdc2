"""What a round's time went into, and estimates of what is no longer as a pilot found it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fedtier.planner.cost import Exchange
from fedtier.planner.estimates import Estimates, LinkEstimate
from fedtier.planner.setting import Setting

_LEAST_S = 1e-3  # below it a link is as quick as any

Parts = Mapping[int, float]
"""Seconds of one local step of the slowest device, under 0, and of one exchange on link n."""


def parts_of_round(
    spans: Mapping[int, int], *, tau: Sequence[int], round_s: float
) -> dict[int, float]:
    """Take a round's time apart.

    Whatever nodes tell, a tier's iterations take no longer than those above them.

    Args:
        spans: By tier, microseconds of its iterations: see ``Figures``.
        tau: tau_1..tau_N of the round.
        round_s: What all of it took.

    Returns:
        Those parts that follow from what was told.
    """
    most_s, seconds = round_s, {}
    for tier in range(len(tau), -1, -1):
        if tier in spans:
            seconds[tier] = most_s = min(spans[tier] / 1e6, most_s)
    parts = {0: seconds[0] / math.prod(tau)} if 0 in seconds else {}
    for link in range(1, len(tau) + 1):
        if link in seconds and link - 1 in seconds:
            often = math.prod(tau[link:])
            parts[link] = (seconds[link] - seconds[link - 1]) / often
    return parts


def changed(setting: Setting, taken: Parts, *, factor: float) -> dict[int, str]:
    """What took other times than estimated, each in words.

    Args:
        setting: With the estimates.
        taken: In a round.
        factor: By how much times must differ.
    """
    found = {}
    for number, seconds in sorted(taken.items()):
        expected_s = _expected_s(setting, number)
        if not 1 / factor <= max(seconds, _LEAST_S) / expected_s <= factor:
            what = f"an exchange on link {number}" if number else "a local step"
            found[number] = f"{what} took {seconds:.3g} s where {expected_s:.3g} s were estimated"
    return found


def corrections(setting: Setting, taken: Parts, numbers: Mapping[int, str]) -> Iterator[Estimates]:
    """Estimates with which these parts of a round take what they took.

    One time does not tell whether a link's latency or its rate has changed: so there is one for
    each combination. They differ where another plan's updates have another size.
    """
    known = setting.estimates
    links = [number for number in numbers if number]
    if 0 in numbers:
        ratio = max(taken[0], _LEAST_S) / _expected_s(setting, 0)
        slower = {device: ratio * seconds for device, seconds in known.step_s.items()}
        known = replace(known, step_s=slower)
    choices = [
        _explanations(known.link[n - 1], setting.costs.exchanges[n - 1], taken[n]) for n in links
    ]
    for chosen in itertools.product(*choices):
        found = list(known.link)
        for number, link in zip(links, chosen, strict=True):
            found[number - 1] = link
        yield replace(known, link=tuple(found))


def _expected_s(setting: Setting, number: int) -> float:
    if number == 0:
        return max(*setting.estimates.step_s.values(), _LEAST_S)
    return max(setting.costs.exchanges[number - 1].seconds, _LEAST_S)


def _explanations(
    link: LinkEstimate, exchange: Exchange, taken_s: float
) -> tuple[LinkEstimate, ...]:
    """Everything takes longer, or shorter, alike; or the rate alone has changed."""
    seconds = max(taken_s, _LEAST_S)
    ratio = seconds / max(exchange.seconds, _LEAST_S)
    rate = None if link.rate_bytes_per_s is None else link.rate_bytes_per_s / ratio
    alike = replace(
        link,
        rate_bytes_per_s=rate,
        latency_s=ratio * (link.latency_s or (_LEAST_S / exchange.trips if rate is None else 0.0)),
    )
    moving_s = seconds - exchange.trips * link.latency_s
    if moving_s <= 0:
        return (alike,)
    return alike, replace(link, rate_bytes_per_s=exchange.bytes / moving_s)
