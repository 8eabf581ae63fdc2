"""One event is one line, whatever strangers put into it; what repeats is said less and less."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.core.effects import Note
from fedtier.runtime.logs import KeyValueFormatter, set_up
from fedtier.runtime.repeats import Repeats


def line(message="event", **fields):
    record = logging.makeLogRecord({"msg": message, "levelname": "INFO"} | fields)
    return KeyValueFormatter().format(record)


def test_fields_stand_behind_the_event():
    assert line(path="r1.2", members=8, share=0.5).endswith(" event  path=r1.2 members=8 share=0.5")
    assert line().endswith("INFO    event")


@pytest.mark.parametrize(
    "value",
    ["two words", "", "a\nb", "a\r\nb", "tab\there", "\x1b[31m", "\u2028", "\x85", "x=y", "'", '"'],
)
def test_a_value_that_is_not_one_plain_word_is_quoted(value):
    text = line(reason=value, after=1)
    assert text.endswith(f"  reason={value!a} after=1")
    assert len(text.splitlines()) == 1


@given(value=st.text(max_size=60))
def test_no_value_makes_a_second_line(value):
    text = line(reason=value)
    assert len(text.splitlines()) == 1
    assert text.isprintable()


def test_words_of_any_language_stay_readable():
    assert line(place="größe").endswith("place=größe")


def test_a_traceback_follows_the_fields():
    try:
        raise ValueError("no")
    except ValueError as error:
        record = logging.makeLogRecord(
            {"msg": "event", "exc_info": (ValueError, error, error.__traceback__), "path": "r1"}
        )
    first, second, *_ = KeyValueFormatter().format(record).splitlines()
    assert first.endswith("event  path=r1")
    assert second.startswith("Traceback")


@pytest.mark.parametrize("debug", [False, True])
def test_what_was_ignored_is_logged_only_when_asked_for(debug, capsys):
    set_up(debug=debug)
    logging.getLogger("x").debug("head ignored", extra={"reason": "a\nb"})
    logging.getLogger("x").info("round closed", extra={"path": "r1"})
    first, *rest = capsys.readouterr().err.splitlines()
    if debug:
        assert first.endswith("head ignored  reason='a\\nb'")
        (first,) = rest
    assert first.endswith("round closed  path=r1")


def warning(event="garbage", **fields):
    return Note(level="warning", event=event, fields=fields)


def test_a_warning_is_said_at_its_first_tenth_hundredth_time():
    repeats = Repeats()
    said = [repeats.count(warning(reason="x")) for _ in range(1000)]
    assert [count for count in said if count] == [1, 10, 100, 1000]


def test_two_warnings_are_counted_apart():
    repeats = Repeats()
    assert [repeats.count(warning(reason=r)) for r in "aabb"] == [1, None, 1, None]


@pytest.mark.parametrize("level", ["debug", "info"])
def test_what_is_no_warning_is_never_held_back(level):
    repeats = Repeats()
    note = Note(level=level, event="round closed")
    assert [repeats.count(note) for _ in range(5)] == [1] * 5


def test_many_wordings_of_one_event_are_counted_as_one_and_leave_room_for_others():
    repeats = Repeats()
    said = [repeats.count(warning(reason=str(n))) for n in range(10_032)]
    assert [count for count in said[32:] if count] == [1, 10, 100, 1000, 10_000]
    assert repeats.count(warning("second parent", own="x")) == 1


def test_memory_is_bounded_however_many_events_there_are():
    repeats = Repeats()
    for event in range(200):
        for wording in range(40):
            repeats.count(warning(f"event {event}", reason=wording))
    assert len(repeats._counts) <= 1024 + 200
