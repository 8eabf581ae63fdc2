"""Estimates of links that are no longer what a pilot found them to be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from fedtier.planner.estimates import Estimates, LinkEstimate

_LEAST_S = 1e-3  # below it a link is as quick as any


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What the updates of one link took, in the mean."""

    seconds: float  # from offer to acceptance
    size: float  # bytes


def changed(estimates: Estimates, taken: Mapping[int, Taken], *, factor: float) -> dict[int, str]:
    """The links whose updates took other times than estimated, by their number, each in words.

    Args:
        estimates: What was known.
        taken: Of links, by number from 1.
        factor: By how much times must differ.
    """
    found = {}
    for number, update in sorted(taken.items()):
        expected_s = _expected_s(estimates.link[number - 1], update)
        if not 1 / factor <= max(update.seconds, _LEAST_S) / expected_s <= factor:
            found[number] = (
                f"an update on link {number} took {update.seconds:.3g} s where {expected_s:.3g} s "
                "were estimated"
            )
    return found


def corrections(
    estimates: Estimates, taken: Mapping[int, Taken], numbers: Mapping[int, str]
) -> Iterator[Estimates]:
    """Estimates with which the updates of these links take what they took.

    One time does not tell whether it is latency or rate that has changed, and what comes down is
    larger than what goes up: so there is one for each combination, of which a round's time tells
    the likely one.
    """
    choices = [_explanations(estimates.link[number - 1], taken[number]) for number in numbers]
    for chosen in itertools.product(*choices):
        links = list(estimates.link)
        for number, link in zip(numbers, chosen, strict=True):
            links[number - 1] = link
        yield replace(estimates, link=tuple(links))


def _expected_s(link: LinkEstimate, update: Taken) -> float:
    moving_s = 0.0 if link.rate_bytes_per_s is None else update.size / link.rate_bytes_per_s
    return max(link.latency_s + moving_s, _LEAST_S)


def _explanations(link: LinkEstimate, update: Taken) -> tuple[LinkEstimate, ...]:
    """Everything takes longer, or shorter, alike; or the rate alone has changed."""
    seconds = max(update.seconds, _LEAST_S)
    ratio = seconds / _expected_s(link, update)
    rate = None if link.rate_bytes_per_s is None else link.rate_bytes_per_s / ratio
    alike = replace(
        link,
        rate_bytes_per_s=rate,
        latency_s=ratio * (link.latency_s or (_LEAST_S if rate is None else 0.0)),
    )
    moving_s = seconds - link.latency_s
    if moving_s <= 0 or update.size <= 0:
        return (alike,)
    return alike, replace(link, rate_bytes_per_s=update.size / moving_s)
