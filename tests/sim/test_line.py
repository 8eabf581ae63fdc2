"""A line delivers in the order of sending, no faster than its rate, and loses its share."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.sim.line import DIRECT, Direction, Line

sends = st.lists(st.tuples(st.floats(0, 10), st.integers(1, 100_000)), min_size=1, max_size=40)
lines = st.builds(
    Line, rate_bytes_per_s=st.one_of(st.none(), st.floats(1, 1e6)), latency_s=st.floats(0, 5),
    jitter_s=st.floats(0, 5), loss=st.sampled_from([0.0, 0.3]),
)  # fmt: skip


def carried(line, sent, *, address="a"):
    """When each message arrives, of (pause, bytes); and when it was sent."""
    direction, now_s, times = Direction(line, address=address), 0.0, []
    for pause_s, packet_bytes in sent:
        now_s += pause_s
        times.append((now_s, direction.carry(now_s, packet_bytes)))
    return times


def test_on_a_direct_line_everything_arrives_at_once():
    assert carried(DIRECT, [(0.0, 10), (1.5, 10**9)]) == [(0.0, 0.0), (1.5, 1.5)]


def test_messages_wait_for_those_before_them_at_the_lines_rate():
    line = Line(rate_bytes_per_s=100.0, latency_s=0.5)
    # 2 s for the first; the second waits for it, the third finds the line idle again
    assert carried(line, [(0.0, 200), (1.0, 100), (9.0, 50)]) == [(0, 2.5), (1, 3.5), (10, 11.0)]


def test_what_is_lost_has_taken_its_time_all_the_same():
    line, busy = Line(rate_bytes_per_s=100.0, loss=0.5), [(0.0, 100)] * 20
    arrived = [at_s for _, at_s in carried(line, busy) if at_s is not None]
    assert 0 < len(arrived) < 20
    assert set(arrived) <= {float(second) for second in range(1, 21)}
    assert len(set(arrived)) == len(arrived)


def test_a_handshake_takes_there_and_back():
    assert Direction(Line(latency_s=0.25), address="a").round_trip_s() == 0.5


@given(lines, sends)
def test_nothing_overtakes_and_nothing_is_faster_than_latency_and_rate(line, sent):
    last_s = 0.0
    for (now_s, at_s), (_, packet_bytes) in zip(carried(line, sent), sent, strict=True):
        if at_s is None:
            assert line.loss > 0
            continue
        rate = line.rate_bytes_per_s
        least_s = line.latency_s + (packet_bytes / rate if rate is not None else 0.0)
        assert at_s >= last_s
        assert at_s >= now_s + least_s - 1e-9 * (1 + at_s)  # sums in another order
        last_s = at_s


@given(lines, sends)
def test_the_same_address_draws_the_same(line, sent):
    assert carried(line, sent) == carried(line, sent)


def test_jitter_is_spread_over_its_whole_range_and_other_addresses_draw_others():
    line, far_apart = Line(jitter_s=2.0), [(100.0, 10)] * 400
    late = [at_s - now_s for now_s, at_s in carried(line, far_apart)]
    assert 0 <= min(late) < 0.1 < 1.9 < max(late) <= 2.0
    # uniform: mean 1, standard error 2 / sqrt(12 * 400); five of them
    assert math.isclose(sum(late) / 400, 1.0, abs_tol=5 * 2 / math.sqrt(12 * 400))
    assert carried(line, far_apart, address="b") != carried(line, far_apart)


@pytest.mark.parametrize("loss", [0.0, 0.02, 0.3, 0.9])
def test_the_share_that_is_lost_is_the_lines(loss):
    count = 4000
    lost = sum(at_s is None for _, at_s in carried(Line(loss=loss), [(1.0, 10)] * count))
    # binomial; five standard deviations
    assert abs(lost - count * loss) <= 5 * math.sqrt(count * loss * (1 - loss))
