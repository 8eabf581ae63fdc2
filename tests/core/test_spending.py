"""Laws of a budget's arithmetic: no window holds more than it may, and no crash forgets a byte."""

from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from fedtier.budget import Budget
from fedtier.core.spending import Pace, Spending, Window

WINDOW_S = 96.0  # slices of a second: the numbers of a failure can be read

steps = st.lists(
    st.tuples(st.floats(0, 60), st.integers(1, 400)), min_size=1, max_size=60
)  # seconds that pass, bytes that are wanted


@given(bytes_max=st.integers(1, 1000), wanted=steps)
def test_no_window_ever_holds_more_than_the_budget(bytes_max, wanted):
    window = Window(bytes_max, window_s=WINDOW_S)
    now_s, went = 0.0, []
    for pause_s, count in wanted:
        now_s += pause_s
        count = min(count, window.left(now_s))
        if count > 0:
            window.spend(count, now_s)
            went.append((now_s, count))
    for end_s, _ in went:
        inside = sum(n for t, n in went if end_s - WINDOW_S < t <= end_s)
        assert inside <= bytes_max


@given(bytes_max=st.integers(1, 1000), wanted=steps, later=st.integers(1, 1000))
def test_what_may_go_at_a_time_may_go_then_and_not_much_before(bytes_max, wanted, later):
    window = Window(bytes_max, window_s=WINDOW_S)
    now_s = 0.0
    for pause_s, count in wanted:
        now_s += pause_s
        window.spend(min(count, max(0, window.left(now_s))), now_s)
    at_s = window.when(later, now_s)
    if later > bytes_max:
        assert at_s == math.inf
        return
    # Never longer than a window and the slice in which the last byte went.
    assert now_s <= at_s <= now_s + WINDOW_S + 1.0
    assert window.left(at_s) >= later


def test_a_window_forgets_everything_after_a_slice_more_than_itself():
    window = Window(100, window_s=WINDOW_S)
    window.spend(100, 0.5)
    assert window.left(WINDOW_S + 0.5) == 0  # within the window, to the second
    assert window.left(WINDOW_S + 1.0) == 100
    assert window.to_json() == []


@given(
    rate=st.floats(0.1, 1000),
    sends=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 500)), min_size=1, max_size=40),
)
def test_in_any_time_no_more_goes_than_the_rate_and_one_message(rate, sends):
    pace = Pace(rate, ready_at_s=0.0)
    now_s, went = 0.0, []
    for pause_s, count in sends:
        now_s = max(now_s + pause_s, pace.ready_at_s)
        pace.sent(count, now_s)
        went.append((now_s, count))
    for i, j in itertools.combinations_with_replacement(range(len(went)), 2):
        between_s = went[j][0] - went[i][0]
        allowed = rate * between_s + went[j][1]
        assert sum(n for _, n in went[i : j + 1]) <= allowed * (1 + 1e-9) + 1e-6  # float64 sums


@given(
    budget=st.builds(
        Budget, bytes_per_round=st.integers(50, 900), bytes_per_day=st.integers(50, 900)
    ),
    story=st.lists(
        st.one_of(
            st.tuples(st.just("spend"), st.floats(0, 60), st.integers(1, 90)),
            st.tuples(st.just("crash"), st.floats(0, 60), st.just(0)),
            st.tuples(st.just("round"), st.floats(0, 60), st.just(0)),
        ),
        max_size=80,
    ),
)
def test_no_crash_forgets_a_byte_that_went(budget, story):
    """Whenever it is killed, and however often: rounds and days keep their budgets."""
    spending = Spending(budget, window_s=WINDOW_S)
    now_s, number, stored = 0.0, 0, None
    went: list[tuple[float, int, int]] = []
    spending.hear_round("run", number)
    for what, pause_s, count in story:
        now_s += pause_s
        if what == "crash":
            spending = Spending(budget, window_s=WINDOW_S)
            if stored is not None:
                spending.restore(stored, now_s)
            spending.hear_round("run", number)
            continue
        if what == "round":
            number += 1
            spending.hear_round("run", number)
            continue
        count = min(count, spending.left_of_round(), spending.left_of_day(now_s))
        if count <= 0:
            continue
        if not spending.is_covered(count):
            stored = spending.record(count)
        spending.spend(count, now_s)
        went.append((now_s, number, count))
    for end_s, its_round, _ in went:
        assert sum(n for t, _, n in went if end_s - WINDOW_S < t <= end_s) <= budget.bytes_per_day
        assert sum(n for _, r, n in went if r == its_round) <= budget.bytes_per_round


def test_a_whole_budget_takes_few_writes():
    spending = Spending(Budget(bytes_per_day=80_000))
    writes = 0
    for _ in range(800):
        if not spending.is_covered(100):
            spending.record(100)
            writes += 1
        spending.spend(100, 0.0)
    assert spending.left_of_day(0.0) == 0
    assert writes <= 8


def test_rounds_without_a_budget_are_not_written():
    spending = Spending(Budget(bytes_per_day=80_000))
    spending.record(100)
    assert spending.hear_round("run", 0)
    assert spending.is_covered(100)


def test_an_earlier_round_is_no_other_and_another_run_is():
    spending = Spending(Budget(bytes_per_round=100))
    assert spending.hear_round("a", 3)
    spending.spend(60, 0.0)
    assert not spending.hear_round("a", 3)
    assert not spending.hear_round("a", 2)  # such as of a cloud that went back
    assert spending.left_of_round() == 40
    assert spending.hear_round("b", 0)
    assert spending.left_of_round() == 100


def test_without_a_budget_nothing_is_limited():
    spending = Spending(Budget(rate_bytes_per_s=10.0))
    spending.spend(10**9, 0.0)
    assert spending.is_covered(10**9)  # and nothing is written
    assert spending.left_of_round() is None
    assert spending.left_of_day(0.0) is None
