"""Who asks again too soon gets everything twice, who waits too long loses time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.core.pace import Pace
from fedtier.limits import PAUSE_MAX_S


@pytest.mark.covers("T-16")
def test_a_pause_is_the_shortest_where_answers_are_quick():
    pace = Pace(2.0)
    pace.begin(10.0)
    pace.answered(10.5)
    assert pace.pause_s == 2.0


@pytest.mark.covers("T-16")
def test_a_pause_is_twice_what_the_slowest_of_the_latest_answers_took():
    pace = Pace(2.0)
    pace.begin(0.0)
    pace.answered(5.0)
    assert pace.pause_s == 10.0
    pace.answered(6.0)
    assert pace.pause_s == 7.5  # the slow one counts less with every answer after it
    for second in range(7, 30):
        pace.answered(second)
    assert pace.pause_s == 2.0


@pytest.mark.covers("T-16")
def test_every_pause_in_vain_doubles_the_next_and_an_answer_ends_that():
    pace = Pace(5.0)
    pace.begin(0.0)
    pauses = []
    for _ in range(6):
        pauses.append(pace.pause_s)
        pace.in_vain()
    assert pauses == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    pace.hurry()
    assert pace.pause_s == 5.0
    pace.in_vain()
    pace.begin(100.0)
    pace.answered(100.1)
    assert pace.pause_s == 5.0


def test_an_answer_that_promises_nothing_is_no_beginning():
    pace = Pace(5.0)
    pace.begin(0.0)
    pace.in_vain()
    pace.heard(1.0)
    assert pace.pause_s == 10.0  # still nothing of what was asked for
    pace.answered(500.0)  # it was queued meanwhile, which says nothing about the line
    assert pace.pause_s == 5.0


@given(
    st.lists(st.tuples(st.sampled_from(["begin", "answered", "heard", "vain"]), st.floats(0, 99)))
)
def test_a_pause_is_never_shorter_than_the_first_nor_longer_than_a_minute(events):
    pace, now_s = Pace(2.0), 0.0
    for event, seconds in events:
        now_s += seconds
        if event == "vain":
            pace.in_vain()
        else:
            getattr(pace, event)(now_s)
        assert 2.0 <= pace.pause_s <= PAUSE_MAX_S
