"""What updates took tells that a link has changed, and a round's time what has changed of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedtier.planner.corrected import Taken, changed, corrections
from fedtier.planner.estimates import LinkEstimate
from tests.planner.given import estimates

SIZE = 10_000.0
LINK = LinkEstimate(
    codec="qsgd", parameters={"levels": 7}, rate_bytes_per_s=20_000.0, latency_s=0.5
)


def known(link: LinkEstimate = LINK):
    given = estimates()
    return replace(given, link=(link, *given.link[1:]))


@pytest.mark.parametrize(
    ("seconds", "is_changed"), [(1.0, False), (1.4, False), (0.7, False), (1.6, True), (0.6, True)]
)
def test_a_link_has_changed_where_updates_took_other_times_by_a_factor(seconds, is_changed):
    """One of 10 kB is expected to take .5 s of latency, and .5 s at the link's rate."""
    found = changed(known(), {1: Taken(seconds=seconds, size=SIZE)}, factor=1.5)
    assert list(found) == ([1] if is_changed else [])
    for words in found.values():
        assert words == f"an update on link 1 took {seconds:.3g} s where 1 s were estimated"


def explained(link: LinkEstimate, seconds: float) -> list[LinkEstimate]:
    before, taken = known(link), {1: Taken(seconds=seconds, size=SIZE)}
    numbers = changed(before, taken, factor=1.5)
    found = list(corrections(before, taken, numbers))
    assert all(each.link[1:] == before.link[1:] for each in found), "others stay as they were"
    return [each.link[0] for each in found]


@pytest.mark.parametrize(
    "link", [LINK, replace(LINK, rate_bytes_per_s=None), replace(LINK, latency_s=0.0)]
)
@pytest.mark.parametrize("seconds", [30.0, 0.05])
def test_every_correction_explains_what_the_update_took(link, seconds):
    found = explained(link, seconds)
    assert found
    for each in found:
        moving_s = 0.0 if each.rate_bytes_per_s is None else SIZE / each.rate_bytes_per_s
        assert each.latency_s + moving_s == pytest.approx(seconds)


def test_more_latency_and_less_rate_are_told_apart_by_what_else_is_carried():
    alike, slower = explained(replace(LINK, rate_bytes_per_s=None), 5.0)
    assert (alike.rate_bytes_per_s, alike.latency_s) == (None, 5.0)
    assert slower.rate_bytes_per_s == pytest.approx(SIZE / 4.5)
    assert slower.latency_s == 0.5


def test_each_link_is_corrected_by_itself():
    before = known()
    taken = {1: Taken(seconds=9.0, size=SIZE), 2: Taken(seconds=900.0, size=SIZE)}
    numbers = changed(before, taken, factor=1.5)
    assert len(list(corrections(before, taken, numbers))) == 4
    assert list(corrections(before, {}, {})) == [before]
