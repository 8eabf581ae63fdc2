"""Who asks again too soon gets everything twice, who waits too long loses time."""

from __future__ import annotations

import pytest
from core_messages import HEAD
from hypothesis import given
from hypothesis import strategies as st

from fedtier.core.effects import Job
from fedtier.core.fetch import Fetch
from fedtier.core.offer import Offer
from fedtier.core.pace import Line, Pace
from fedtier.ids import NodeId
from fedtier.limits import PAUSE_MAX_S
from fedtier.wire.head import BlobRef
from fedtier.wire.parts import Outgoing

JOB = Job.of(HEAD)


@pytest.mark.covers("T-16")
def test_a_pause_is_the_shortest_where_answers_are_quick():
    pace = Pace(2.0)
    pace.begin(10.0)
    pace.answered(10.5, 100)
    assert pace.pause_s(100) == 2.0


@pytest.mark.covers("T-16")
def test_a_pause_is_twice_what_the_slowest_of_the_latest_answers_took():
    pace = Pace(2.0)
    pace.begin(0.0)
    pace.answered(5.0, 100)
    assert pace.pause_s(100) == 10.0
    pace.answered(6.0, 100)
    for second in range(7, 13):
        pace.answered(second, 100)
        assert pace.pause_s(100) == 10.0
    pace.answered(13.0, 100)
    assert pace.pause_s(100) == 2.0, "the eighth answer after the slow one"


@pytest.mark.covers("T-16")
def test_more_bytes_than_came_before_take_longer_in_proportion():
    pace = Pace(2.0)
    pace.begin(0.0)
    pace.answered(5.0, 10_000)
    assert pace.pause_s(30_000) == 30.0
    assert pace.pause_s(1_000) == 10.0, "what takes long may be the way, whatever the size"
    pace.answered(15.0, 30_000)
    assert pace.pause_s(30_000) == 20.0
    pace = Pace(2.0)
    pace.begin(0.0)
    pace.answered(0.5, 10)
    assert pace.pause_s(4_096 * 16) == 16.0, "so few bytes tell little of a rate"


@pytest.mark.covers("T-16")
def test_a_line_of_which_nothing_is_known_may_be_slow():
    """64 KiB take 33 s at 2 kB/s: who asks again after 2 s has five of them queued by then."""
    pace = Pace(2.0)
    assert pace.pause_s(64_000) == 32.0
    pace.begin(0.0)
    pace.answered(0.5, 64_000)
    assert pace.pause_s(64_000) == 2.0


@pytest.mark.covers("T-16")
def test_what_is_offered_knows_of_the_line_what_fetching_taught():
    line = Line()
    fetching, offering = Pace(2.0, line), Pace(5.0, line)
    fetching.begin(0.0)
    fetching.answered(20.0, 64_000)
    assert offering.pause_s(64_000) == 40.0


@pytest.mark.covers("T-16")
def test_a_pause_in_vain_may_exceed_a_minute_for_what_takes_longer_at_1_kb_a_second():
    pace = Pace(5.0)
    pace.begin(0.0)
    pace.answered(30.0, 64_000)
    for _ in range(10):
        pace.in_vain()
    assert pace.pause_s(16 * 64_000) == 1024.0
    assert pace.pause_s(64_000) == 64.0
    assert pace.pause_s(1_000) == 60.0


@pytest.mark.covers("T-16")
def test_every_pause_in_vain_doubles_the_next_and_an_answer_ends_that():
    pace = Pace(5.0)
    pace.begin(0.0)
    pauses = []
    for _ in range(6):
        pauses.append(pace.pause_s(100))
        pace.in_vain()
    assert pauses == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    pace.hurry()
    assert pace.pause_s(100) == 5.0
    pace.in_vain()
    pace.begin(100.0)
    pace.answered(100.1, 100)
    assert pace.pause_s(100) == 5.0


@pytest.mark.covers("T-16")
def test_what_was_waited_for_in_vain_before_does_not_slow_what_comes_next():
    """A parent that is away answers nothing; once it is back, the next thing is asked for soon."""
    pace = Pace(5.0)
    offers = [
        Offer(
            JOB, bytes([n]) * 100, pace, node=NodeId("a"), part_bytes=4096, now_s=0, abstains=False
        )
        for n in (1, 2)
    ]
    offers[0].begin(HEAD, 0.0)
    for time_s in (5.0, 15.0, 35.0):
        offers[0].repeat(HEAD, time_s)
    assert offers[0].repeat_at_s > 35 + 40
    offers[1].begin(HEAD, 100.0)
    assert 105 <= offers[1].repeat_at_s <= 105.5
    blob = BlobRef(form="raw", digest="ab" * 32, total=100, parts=1)
    pace = Pace(2.0)
    first = Fetch(blob, pace, bytes_max=1000, now_s=0.0)
    for time_s in (0.0, 2.0, 6.0, 14.0):
        first.ask(time_s)
    second = Fetch(blob, pace, bytes_max=1000, now_s=100.0, by_itself=True)
    assert second.ask_at_s == 102.0


def test_an_answer_that_promises_nothing_is_no_beginning():
    pace = Pace(5.0)
    pace.begin(0.0)
    pace.in_vain()
    pace.heard(1.0, 100)
    assert pace.pause_s(100) == 10.0  # still nothing of what was asked for
    pace.answered(500.0, 100)  # it was queued meanwhile, which says nothing about the line
    assert pace.pause_s(100) == 5.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["begin", "answered", "heard", "vain"]),
            st.floats(0, 99),
            st.integers(0, 10**6),
        )
    )
)
def test_a_pause_is_never_shorter_than_the_first_nor_longer_than_a_minute(events):
    pace, now_s = Pace(2.0), 0.0
    for event, seconds, bytes_ in events:
        now_s += seconds
        if event == "vain":
            pace.in_vain()
        elif event == "begin":
            pace.begin(now_s)
        else:
            getattr(pace, event)(now_s, bytes_)
        assert 2.0 <= pace.pause_s(bytes_) <= max(PAUSE_MAX_S, bytes_ / 1000)


@pytest.mark.covers("T-16")
def test_a_long_silence_is_forgotten_as_soon_as_the_longest_pause():
    """A parent was away for an hour: that says nothing of the line that is back."""
    pace = Pace(2.0)
    pace.begin(0.0)
    pace.answered(3600.0, 100)
    answers = 0
    while pace.pause_s(100) > 2.0:
        answers += 1
        pace.answered(3600.0 + answers, 100)
    assert answers == 8


@pytest.mark.covers("T-16")
def test_time_without_a_connection_is_no_answers_time():
    pace = Pace(2.0)
    sent = Outgoing(bytes(8000), kind="model", part_bytes=4096)
    blob = BlobRef(form="raw", digest=sent.digest, total=sent.total, parts=sent.parts)
    fetch = Fetch(blob, pace, bytes_max=10_000, now_s=0.0)
    for time_s in (0.0, 2.0, 6.0):
        fetch.ask(time_s)
    assert 0 in fetch.again(500.0).parts
    assert fetch.ask_at_s == 502.0
    part = sent.part(
        0, run=HEAD.run, epoch=HEAD.epoch, path=HEAD.path, nonce=HEAD.nonce, seq=HEAD.seq
    )
    fetch.add(part, 500.5)
    assert fetch.ask_at_s == 502.5


@pytest.mark.covers("T-16")
def test_a_question_long_after_the_verdict_does_not_slow_what_is_offered_next():
    pace = Pace(5.0)
    offer = Offer(JOB, b"x" * 100, pace, node=NodeId("a"), part_bytes=4096, now_s=0, abstains=False)
    offer.begin(HEAD, 0.0)
    offer.settle(0.1)
    offer.wanted((0,), HEAD, 50.0)  # of before the verdict, and late
    offer.begin(HEAD, 60.0)
    assert 65 <= offer.repeat_at_s <= 65.5
