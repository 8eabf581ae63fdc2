"""A round's time tells what its parts took, and so what is no longer as it was estimated."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedtier.planner.corrected import changed, corrections, parts_of_round
from fedtier.planner.estimates import LinkEstimate
from fedtier.planner.setting import Setting
from tests.planner.given import estimates, wearables

LINK = LinkEstimate(
    codec="qsgd", parameters={"levels": 7}, rate_bytes_per_s=100_000.0, latency_s=0.5
)


def known(link: LinkEstimate = LINK) -> Setting:
    given = estimates()
    return Setting.of(wearables(), replace(given, link=(link, *given.link[1:])))


def test_a_rounds_time_is_that_of_its_steps_and_of_every_links_exchanges():
    """tau (5, 3, 2): 30 steps of .1 s, 6 exchanges of .2, 2 of 1 and one of 4."""
    spans_s = (3.0, 3.0 + 1.2, 4.2 + 2.0, 6.2 + 4.0)
    spans = {tier: round(1e6 * span_s) for tier, span_s in enumerate(spans_s)}
    found = parts_of_round(spans, tau=(5, 3, 2), round_s=11.0)
    assert found == pytest.approx({0: 0.1, 1: 0.2, 2: 1.0, 3: 4.0})


@pytest.mark.parametrize(
    ("spans", "parts"),
    [
        ({}, {}),
        ({1: 5, 3: 9}, {}),
        ({2: 5 * 10**6, 3: 9 * 10**6}, {3: 4.0}),
        # What cannot be: a tier is no longer at work than the round takes, nor than those above.
        ({0: 10**15, 1: 10**15, 2: 10**15, 3: 10**15}, {0: 2.0, 1: 0.0, 2: 0.0, 3: 0.0}),
        ({0: 0, 1: 10**15, 2: 0, 3: 10**15}, {0: 0.0, 1: 0.0, 2: 0.0, 3: 10.0}),
        ({7: 10**6}, {}),
    ],
)
def test_only_what_follows_is_believed(spans, parts):
    assert parts_of_round(spans, tau=(5, 1, 1), round_s=10.0) == parts


@pytest.mark.parametrize(
    ("share", "is_changed"), [(1.0, False), (1.4, False), (0.7, False), (1.6, True), (0.6, True)]
)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_part_has_changed_where_it_took_another_time_by_a_factor(number, share, is_changed):
    setting = known()
    expected_s = (
        setting.costs.exchanges[number - 1].seconds
        if number
        else max(setting.estimates.step_s.values())
    )
    found = changed(setting, {number: share * expected_s}, factor=1.5)
    assert list(found) == ([number] if is_changed else [])
    for words in found.values():
        what = f"an exchange on link {number}" if number else "a local step"
        assert words.startswith(f"{what} took ")
        assert words.endswith(f" where {expected_s:.3g} s were estimated")


def corrected(setting: Setting, taken: dict[int, float]) -> list[Setting]:
    numbers = changed(setting, taken, factor=1.5)
    found = list(corrections(setting, taken, numbers))
    return [Setting.of(setting.federation, each) for each in found]


@pytest.mark.parametrize(
    "link", [LINK, replace(LINK, rate_bytes_per_s=None), replace(LINK, latency_s=0.0)]
)
@pytest.mark.parametrize("seconds", [30.0, 0.05])
def test_every_correction_explains_what_the_exchange_took(link, seconds):
    setting = known(link)
    found = corrected(setting, {1: seconds})
    assert found
    for each in found:
        assert each.costs.exchanges[0].seconds == pytest.approx(seconds)
        assert each.estimates.link[1:] == setting.estimates.link[1:], "others stay as they were"


def test_that_all_is_slower_and_that_the_rate_is_are_two_explanations():
    setting = known(replace(LINK, rate_bytes_per_s=None))
    alike, thin = (each.estimates.link[0] for each in corrected(setting, {1: 5.0}))
    assert (alike.rate_bytes_per_s, alike.latency_s) == (None, pytest.approx(5.0))
    carried = setting.costs.exchanges[0].bytes
    assert (thin.rate_bytes_per_s, thin.latency_s) == (pytest.approx(carried / 4.5), 0.5)


def test_slower_steps_are_slower_on_every_device_alike():
    setting = known()
    slowest_s = max(setting.estimates.step_s.values())
    (found,) = corrected(setting, {0: 3 * slowest_s})
    assert found.estimates.step_s == {
        device: pytest.approx(3 * seconds) for device, seconds in setting.estimates.step_s.items()
    }


def test_each_part_is_corrected_by_itself():
    setting = known()
    taken = {1: 9.0, 2: 900.0}
    numbers = changed(setting, taken, factor=1.5)
    assert len(list(corrections(setting, taken, numbers))) == 4
    assert list(corrections(setting, {}, {})) == [setting.estimates]
