"""A connection that brings nothing is made anew; one that brings slowly is left alone."""

from __future__ import annotations

import pytest
from core_messages import HEAD

from fedtier.core.effects import Reconnect
from fedtier.core.hearing import Hearing
from fedtier.limits import DEAF_BEACONS

PATIENCE_S = DEAF_BEACONS * HEAD.plan.beacon_s


def reconnects(hearing, now_s):
    return any(isinstance(effect, Reconnect) for effect in hearing.tick(now_s))


@pytest.mark.covers("P-8")
def test_silence_for_three_signs_of_life_ends_a_connection():
    hearing = Hearing("up")
    hearing.heard(HEAD, 10.0)
    assert hearing.timer_s == 10 + PATIENCE_S
    assert not reconnects(hearing, 9.9 + PATIENCE_S)
    assert reconnects(hearing, 10.0 + PATIENCE_S)


@pytest.mark.covers("P-8")
def test_parts_that_come_one_by_one_show_that_the_connection_brings_something():
    """A window of 16 parts of 64 KiB takes 100 s at 10 kB/s, and what is said waits behind it."""
    hearing = Hearing("up")
    hearing.heard(HEAD, 0.0)
    for count in range(1, 6):
        now_s = count * (PATIENCE_S - 1)
        assert not reconnects(hearing, now_s)
        hearing.delivers(now_s)
    assert reconnects(hearing, now_s + PATIENCE_S)


def test_parts_alone_are_no_reason_to_expect_anything():
    """Who has never heard the parent, or knows that it has gone, cannot miss it."""
    hearing = Hearing("up")
    hearing.delivers(0.0)
    assert hearing.timer_s is None
    hearing.heard(None, 1.0)
    hearing.delivers(2.0)
    assert hearing.timer_s is None
