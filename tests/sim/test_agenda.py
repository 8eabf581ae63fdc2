"""Virtual time moves to what is next, and of two things at one time the first made comes first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.sim.agenda import Agenda


@given(st.lists(st.sampled_from([0.0, 1.0, 2.5, 7.0]), max_size=30))
def test_things_happen_in_the_order_of_their_times_and_then_of_their_making(times_s):
    agenda, happened = Agenda(), []
    for number, time_s in enumerate(times_s):
        agenda.at(time_s, lambda entry=(time_s, number): happened.append((agenda.now_s, entry)))
    assert agenda.run_until_idle() == len(times_s)
    assert [entry for _, entry in happened] == sorted((t, n) for n, t in enumerate(times_s))
    assert all(now_s == entry[0] for now_s, entry in happened)


def test_what_is_due_already_happens_now_and_after_all_that_was_due_before():
    agenda, happened = Agenda(), []
    agenda.at(5.0, lambda: agenda.at(1.0, lambda: happened.append(("late", agenda.now_s))))
    agenda.at(5.0, lambda: agenda.after(0, lambda: happened.append(("next", agenda.now_s))))
    agenda.at(5.0, lambda: happened.append(("third", agenda.now_s)))
    assert agenda.next_s == 5.0
    agenda.run_until_idle()
    assert happened == [("third", 5.0), ("late", 5.0), ("next", 5.0)]
    assert (agenda.next_s, agenda.step()) == (None, False)


def test_what_goes_on_for_ever_is_found_out():
    agenda = Agenda()

    def again() -> None:
        agenda.after(0, again)

    again()
    with pytest.raises(AssertionError, match="100 steps"):
        agenda.run_until_idle(limit=100)
