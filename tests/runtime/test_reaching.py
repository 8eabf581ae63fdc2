"""A broker that does not let a node in is told of with the reason, for as long as it lasts."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fedtier.errors import EXIT_UNREACHABLE
from fedtier.limits import CONNECT_WARN_AGAIN_S, CONNECT_WARN_S
from fedtier.runtime.reaching import Reaching
from fedtier.transport.base import ANONYMOUS, Credentials, Trouble

URL = "mqtt://broker.example:1883"
USER = Credentials(username="w-0", password_file=Path("/etc/fedtier/password"))
CLOSED = Trouble(kind="unreachable", reason="Connection refused")
STRANGER = Trouble(kind="login refused", reason="Not authorized")
BUSY = Trouble(kind="refused", reason="Server busy")


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog):
    caplog.set_level(logging.DEBUG)


def make(credentials=USER, give_up_s=None):
    reaching = Reaching(side="up", where=URL, credentials=credentials, give_up_s=give_up_s)
    reaching.begin(0.0)
    return reaching


def let_pass(reaching, *, since_s, until_s):
    """Do what is due, when it is due."""
    while reaching.timer_s is not None and since_s <= reaching.timer_s <= until_s:
        stop = reaching.tick(reaching.timer_s)
        if stop is not None:
            return stop
    return None


def test_an_absent_broker_is_told_of_after_a_moment_and_then_every_minute(caplog):
    reaching = make()
    reaching.failed(CLOSED, 0.0)
    let_pass(reaching, since_s=0.0, until_s=CONNECT_WARN_S + 2 * CONNECT_WARN_AGAIN_S)
    assert [r.message for r in caplog.records] == ["broker unreachable"] * 3
    assert [r.seconds for r in caplog.records] == [5, 65, 125]
    assert {(r.levelname, r.side, r.broker, r.reason) for r in caplog.records} == {
        ("WARNING", "up", URL, "Connection refused")
    }


def test_the_reason_is_that_of_the_last_attempt(caplog):
    reaching = make()
    reaching.failed(CLOSED, 0.0)
    reaching.failed(Trouble(kind="unreachable", reason="No route to host"), 1.0)
    reaching.tick(CONNECT_WARN_S)
    assert caplog.records[0].reason == "No route to host"


def test_a_refused_login_is_told_of_at_once_with_what_was_shown_and_again_every_minute(caplog):
    reaching = make()
    for attempt_s in (0.1, 0.5, 2.0, 7.0):
        reaching.failed(STRANGER, attempt_s)
    let_pass(reaching, since_s=0.0, until_s=CONNECT_WARN_AGAIN_S + 1)
    assert [(r.message, r.seconds) for r in caplog.records] == [
        ("broker refuses", 0), ("broker refuses", 60),
    ]  # fmt: skip
    said = caplog.records[0]
    assert (said.username, said.password_file) == ("w-0", "/etc/fedtier/password")
    assert said.hint == "the broker does not know this user or password: see its password file"
    assert said.reason == "Not authorized"


def test_a_node_without_a_name_is_told_to_bring_one(caplog):
    make(ANONYMOUS).failed(STRANGER, 0.1)
    assert "name a username and password_file" in caplog.records[0].hint


def test_a_refusal_for_another_reason_says_nothing_of_passwords(caplog):
    make().failed(BUSY, 0.1)
    (said,) = caplog.records
    assert (said.message, said.reason) == ("broker refuses", "Server busy")
    assert not hasattr(said, "hint")


def test_a_broker_that_comes_up_and_refuses_is_told_of_as_that(caplog):
    reaching = make()
    reaching.failed(CLOSED, 0.0)
    reaching.tick(CONNECT_WARN_S)
    reaching.failed(STRANGER, 9.0)
    assert [r.message for r in caplog.records] == ["broker unreachable", "broker refuses"]


def test_a_broker_that_is_reached_is_not_spoken_of(caplog):
    reaching = make(give_up_s=10.0)
    reaching.failed(CLOSED, 0.0)
    reaching.reached()
    assert reaching.timer_s is None
    assert reaching.tick(1e6) is None
    assert not caplog.records


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (None, ("no broker answers", "for 10 s. Start it")),
        (CLOSED, ("no broker answers", "(Connection refused)", "Start it")),
        (
            STRANGER,
            ("refuses this node", "Not authorized", "username w-0", "/etc/fedtier/password"),
        ),
        (BUSY, ("refuses this node", "Server busy")),
    ],
)
def test_who_gives_up_says_why_there_was_no_connection(trouble, words):
    reaching = make(give_up_s=10.0)
    if trouble is not None:
        reaching.failed(trouble, 0.0)
    stop = let_pass(reaching, since_s=0.0, until_s=10.0)
    assert stop is not None
    assert stop.exit_code == EXIT_UNREACHABLE
    assert all(word in stop.reason for word in (URL, *words)), stop.reason


def test_a_broker_that_was_there_once_is_waited_for_for_ever():
    reaching = make(give_up_s=10.0)
    reaching.reached()
    reaching.begin(20.0)
    assert let_pass(reaching, since_s=20.0, until_s=1e4) is None


def test_a_broker_that_nobody_tries_to_reach_is_not_missed(caplog):
    reaching = make()
    reaching.failed(Trouble(kind="waiting", reason="the budget"), 1.0)
    assert reaching.timer_s is None
    reaching.failed(CLOSED, 1000.0)  # the first attempt after the wait
    let_pass(reaching, since_s=1000.0, until_s=1000.0 + CONNECT_WARN_S)
    assert [(r.message, r.seconds) for r in caplog.records] == [("broker unreachable", 5)]
