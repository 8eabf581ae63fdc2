"""The loop of a process: nothing kills it but what must, and it always closes what it opened."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import Counter

import pytest
from runtime_world import (
    CELL,
    DONE,
    FAREWELL,
    FEDERATION,
    URL,
    Node,
    Scripted,
    arrive,
    presence_of,
    pumped,
    say,
)

from fedtier.core.effects import Note, Preempt, Reconnect, Stop
from fedtier.core.events import Connected, Disconnected, Received, Tick
from fedtier.errors import EXIT_CONFIG, EXIT_UNREACHABLE, ConfigError, LinkError, StorageError
from fedtier.runtime import loop as loop_module
from fedtier.runtime import reaching
from fedtier.transport.base import Trouble
from fedtier.wire.messages import Presence


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog):
    caplog.set_level(logging.DEBUG)


def worker_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("work")]


def events_of(caplog, name):
    return [record for record in caplog.records if record.message == name]


# Messages


@pytest.mark.covers("P-3")
def test_a_message_reaches_the_machine_with_its_node_and_side():
    node = Node(Scripted(stop_after=1))
    arrive(node, *presence_of("d1"), retained=True)
    assert node.run() == 0
    (received,) = node.machine.events
    assert isinstance(received, Received)
    assert (received.side, received.node, received.retained) == ("down", "d1", True)
    assert received.message.weight == 1


@pytest.mark.covers("P-5")
def test_garbage_is_counted_said_once_and_never_reaches_the_machine(caplog):
    node = Node(Scripted(stop_after=1))
    topic, payload = presence_of("d1")
    for _ in range(250):
        arrive(node, topic, b"\xff" * 20)
        arrive(node, topic, payload[:-1])
        arrive(node, f"{topic}/0", payload)
        arrive(node, "something/else", payload)
        arrive(node, topic.replace(f"/{CELL}/", "/other/"), payload)
        arrive(node, topic.replace(f"/{FEDERATION}/", "/other/"), payload)
    arrive(node, topic, payload)
    assert node.run() == 0
    assert len(node.machine.events) == 1
    said = events_of(caplog, "garbage")
    assert len(said) == 3 * 6  # each kind at its 1st, 10th and 100th occurrence
    assert Counter(getattr(record, "times", 1) for record in said) == {1: 6, 10: 6, 100: 6}


@pytest.mark.covers("P-5")
def test_garbage_that_is_never_the_same_twice_is_said_a_few_dozen_times_at_most(caplog):
    node = Node(Scripted(stop_after=1))
    for number in range(5000):
        arrive(node, f"fedtier/v1/f/{CELL}/d1/update/{number}", bytes([number % 256]) * 120)
        arrive(node, f"strange/{number}", b"")
    arrive(node, *presence_of("d1"))
    assert node.run() == 0
    assert len(node.machine.events) == 1
    assert len(events_of(caplog, "garbage")) < 50


def test_a_cleared_retained_message_is_no_garbage(caplog):
    node = Node(Scripted(stop_after=1))
    arrive(node, presence_of("d1")[0], b"")
    arrive(node, f"fedtier/v1/f/{CELL}/all/presence", b"")
    arrive(node, *presence_of("d1"))
    node.run()
    assert len(node.machine.events) == 1
    assert not events_of(caplog, "garbage")


def test_what_the_machine_sends_is_published_and_what_it_asks_for_is_performed_in_order():
    preempt = Preempt(job=None)
    node = Node(
        Scripted(lambda event: [say(), preempt, DONE] if event == Connected(side="down") else []),
        transport=pumped,
    )
    assert node.run() == 0
    assert node.performed == [preempt]
    # the presence was retained, and the farewell has taken its place
    assert node.broker.retained == {FAREWELL[0]: FAREWELL[1]}
    assert Presence.decode(FAREWELL[1]).status == "leaving"


def test_a_connection_is_made_anew_on_the_side_that_the_machine_names():
    node = Node(Scripted(lambda event: [Reconnect(side="up"), DONE]), sides=("up", "down"))
    arrive(node, *presence_of("d1"))
    assert node.run() == 0
    assert node.transports["up"].calls == ["start", "reconnect", "close"]
    assert node.transports["down"].calls == ["start", "close"]


def test_a_message_the_broker_does_not_take_is_noted_and_the_loop_goes_on(caplog):
    def refuse(*args, **options):
        raise LinkError("a message of 70 bytes is larger than the 50 bytes this broker takes")

    node = Node(Scripted(lambda event: [say(), say()], stop_after=2))
    node.transports["down"].publish = refuse
    for _ in range(2):
        arrive(node, *presence_of("d1"))
    assert node.run() == 0
    (said,) = events_of(caplog, "not sent")
    assert "larger than the 50 bytes" in said.reason


def test_what_a_broker_refuses_is_said_once_for_all_parts_of_a_blob(caplog):
    node = Node(Scripted(stop_after=1))
    for number in range(250):
        node.mailbox.inbox("down").refused(f"fedtier/v1/f/{CELL}/all/model/{number}", "No")
    node.mailbox.inbox("down").refused(f"fedtier/v1/f/{CELL}/all/head", "No")
    arrive(node, *presence_of("d1"))
    assert node.run() == 0
    said = events_of(caplog, "publish refused")
    assert [(record.topic.rpartition("/")[2], getattr(record, "times", 1)) for record in said] == [
        ("model", 1), ("model", 10), ("model", 100), ("head", 1)
    ]  # fmt: skip
    assert said[0].broker == URL


# Timers


def test_a_timer_fires_under_a_flood_of_messages():
    node = Node(Scripted(lambda event: [DONE] if isinstance(event, Tick) else []))
    topic, payload = presence_of("d1")
    for _ in range(1000):
        arrive(node, topic, payload)
    node.machine.timer_s = time.monotonic()
    assert node.run() == 0
    assert [type(event) for event in node.machine.events] == [Received, Tick]


def test_a_timer_fires_under_a_flood_of_garbage():
    node = Node(Scripted(lambda event: [DONE] if isinstance(event, Tick) else []))
    for _ in range(1000):
        arrive(node, "x", b"x")
    node.machine.timer_s = time.monotonic()
    assert node.run() == 0
    assert [type(event) for event in node.machine.events] == [Tick]


def test_no_tick_comes_before_its_time(monkeypatch):
    monkeypatch.setattr(reaching, "CONNECT_WARN_S", 0.0)  # wakes the loop early
    due_s = time.monotonic() + 0.05
    node = Node(Scripted(stop_after=1, timer_s=due_s))
    node.run()
    assert node.machine.events == [Tick()]
    assert time.monotonic() >= due_s


# Errors


@pytest.mark.covers("S-3")
@pytest.mark.parametrize("error", [StorageError("disk"), AssertionError("bug"), KeyError("bug")])
@pytest.mark.parametrize("where", ["perform", "work", "machine"])
def test_an_error_comes_out_only_after_every_transport_and_thread_is_closed(where, error):
    def fail(*_):
        raise error

    script = fail if where == "machine" else lambda event: [Preempt(job=None)]
    node = Node(Scripted(script), sides=("up", "down"))
    perform = fail if where == "perform" else lambda effect: node.driver.work(fail)
    arrive(node, *presence_of("d1"))
    with pytest.raises(type(error)) as caught:
        node.run(perform)
    assert caught.value is error
    assert all(transport.calls[-1] == "close" for transport in node.transports.values())
    assert all(transport.farewell == FAREWELL for transport in node.transports.values())
    assert worker_threads() == []


def test_a_disk_that_fails_a_transport_ends_the_loop_as_such():
    error = StorageError("disk")
    node = Node(Scripted())
    node.mailbox.inbox("down").failed(error)
    with pytest.raises(StorageError) as caught:
        node.run()
    assert caught.value is error
    assert node.transports["down"].calls[-1] == "close"


def test_a_bug_in_a_transport_names_its_broker():
    node = Node(Scripted())
    node.mailbox.inbox("down").failed(KeyError("bug"))
    with pytest.raises(RuntimeError, match=URL):
        node.run()


def test_an_error_of_the_work_is_not_lost_because_the_loop_had_ended(eventually):
    started = threading.Event()

    def work():
        started.set()
        eventually(node.driver.ending, "the loop ends")
        raise StorageError("disk")

    def perform(effect):
        node.driver.work(work)
        assert started.wait(10)

    node = Node(Scripted(lambda event: [Preempt(job=None), DONE]))
    arrive(node, *presence_of("d1"))
    with pytest.raises(StorageError):
        node.run(perform)
    assert node.transports["down"].calls[-1] == "close"


def test_a_transport_that_cannot_start_leaves_none_open():
    def refuse():
        raise ConfigError("no such certificate")

    node = Node(Scripted(), sides=("up", "down"))
    node.transports["down"]._on_start = refuse
    with pytest.raises(ConfigError):
        node.run()
    assert node.transports["up"].calls == ["start", "close"]


def test_work_is_done_one_at_a_time_in_order_off_the_loops_thread():
    done, threads = [], set()

    def work(number):
        def task():
            threads.add(threading.current_thread())
            done.append(number)
            return Disconnected(side="up") if number == 4 else None

        return task

    def perform(effect):
        for number in range(5):
            node.driver.work(work(number))

    node = Node(
        Scripted(lambda event: [DONE] if isinstance(event, Disconnected) else [Preempt(job=None)])
    )
    arrive(node, *presence_of("d1"))
    assert node.run(perform) == 0
    assert done == list(range(5))
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_the_machine_may_stop_the_process_with_a_reason(caplog):
    node = Node(Scripted(lambda event: [Stop(exit_code=78, reason="a second parent"), DONE]))
    arrive(node, *presence_of("d1"))
    assert node.run() == 78
    assert events_of(caplog, "stopped")[0].reason == "a second parent"


# Signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_the_loop_with_a_farewell(eventually, number, code):
    before = signal.getsignal(number)
    node = Node(Scripted(lambda event: [Preempt(job=None)]))
    arrive(node, *presence_of("d1"))
    working = threading.Event()

    def train():
        working.set()
        eventually(node.driver.ending, "the loop ends")  # what a trainer asks between its steps

    def perform(effect):
        node.driver.work(train)
        killer.start()

    def kill():
        assert working.wait(10)
        os.kill(os.getpid(), number)

    killer = threading.Thread(target=kill)
    assert node.run(perform) == code
    killer.join()
    assert node.transports["down"].farewell == FAREWELL
    assert worker_threads() == []
    assert signal.getsignal(number) is before


def test_a_signal_does_not_wait_behind_a_flood():
    def script(event):
        if len(node.machine.events) == 3:
            signal.raise_signal(signal.SIGTERM)
        return []

    node = Node(Scripted(script))
    for _ in range(1000):
        arrive(node, *presence_of("d1"))
    assert node.run() == 0
    assert len(node.machine.events) == 3


# Connections


def test_a_broker_that_never_answers_ends_the_process_with_69_and_its_url(caplog):
    node = Node(Scripted(), give_up_s=0.0)
    assert node.run() == EXIT_UNREACHABLE
    reason = events_of(caplog, "stopped")[0].reason
    assert URL in reason
    assert "Start it" in reason


def test_a_broker_that_was_there_once_is_waited_for_for_ever(caplog):
    node = Node(Scripted(), give_up_s=0.0)
    inbox = node.mailbox.inbox("down")

    def lose_after(event):
        if isinstance(event, Connected):
            inbox.disconnected("keep-alive", taken_over=False)
        if isinstance(event, Disconnected):
            node.machine.timer_s = time.monotonic()
        return [DONE] if isinstance(event, Tick) else []

    node.machine.script = lose_after
    node.transports["down"]._on_start = inbox.connected
    # the connection is there before the loop first looks, as an answer within the patience is
    assert node.run() == 0
    assert events_of(caplog, "connected")[0].broker == URL
    assert events_of(caplog, "disconnected")[0].reason == "keep-alive"


def test_somebody_is_warned_once_when_a_broker_is_silent(caplog, monkeypatch):
    monkeypatch.setattr(reaching, "CONNECT_WARN_S", 0.0)
    node = Node(Scripted(lambda event: [DONE] if isinstance(event, Tick) else []))
    for _ in range(5):
        arrive(node, "x", b"x")
    node.machine.timer_s = time.monotonic() + 0.05
    assert node.run() == 0
    (warning,) = events_of(caplog, "broker unreachable")
    assert (warning.broker, warning.levelname) == (URL, "WARNING")


def test_nobody_is_warned_of_a_broker_that_answers(caplog, monkeypatch):
    monkeypatch.setattr(reaching, "CONNECT_WARN_S", 0.02)
    node = Node(Scripted(lambda event: [DONE] if isinstance(event, Tick) else []), transport=pumped)
    node.machine.timer_s = time.monotonic() + 0.1
    assert node.run() == 0
    assert not events_of(caplog, "broker unreachable")


def test_a_refusal_reaches_the_log_at_once_and_the_end_of_a_node_that_gives_up(caplog):
    node = Node(Scripted(), give_up_s=0.02)
    trouble = Trouble(kind="login refused", reason="Not authorized")
    node.transports["down"]._on_start = lambda: node.mailbox.inbox("down").not_connected(trouble)
    assert node.run() == EXIT_UNREACHABLE
    (warning,) = events_of(caplog, "broker refuses")
    assert (warning.broker, warning.reason) == (URL, "Not authorized")
    assert not events_of(caplog, "broker unreachable")
    reason = events_of(caplog, "stopped")[0].reason
    assert "refuses this node" in reason
    assert "no broker answers" not in reason


def taken_over(node, times):
    inbox = node.mailbox.inbox("down")
    for _ in range(times):
        inbox.connected()
        inbox.disconnected("session taken over", taken_over=True)


@pytest.mark.covers("P-6")
def test_a_node_taken_over_twice_within_a_minute_stops_with_78(caplog):
    node = Node(Scripted())
    taken_over(node, 2)
    assert node.run() == EXIT_CONFIG
    reason = events_of(caplog, "stopped")[0].reason
    assert URL in reason
    assert "twice within a minute" in reason


def test_a_node_taken_over_once_goes_on():
    node = Node(Scripted(stop_after=3))
    taken_over(node, 1)
    arrive(node, *presence_of("d1"))
    assert node.run() == 0


def test_takeovers_more_than_a_minute_apart_are_forgiven(monkeypatch):
    monkeypatch.setattr(loop_module, "_TAKEOVER_WINDOW_S", 0.0)
    node = Node(Scripted(stop_after=6))
    taken_over(node, 3)
    assert node.run() == 0


def test_notes_are_logged_with_their_level_and_fields(caplog):
    notes = [
        Note(level="debug", event="a", fields={"x": 1}),
        Note(level="info", event="b", fields={"y": "z"}),
        Note(level="warning", event="c"),
    ]
    node = Node(Scripted(lambda event: [*notes, *notes, DONE]))
    arrive(node, *presence_of("d1"))
    node.run()
    said = [(r.levelname, r.message) for r in caplog.records if r.message in ("a", "b", "c")]
    # only warnings are held back when they repeat
    assert said == [("DEBUG", "a"), ("INFO", "b"), ("WARNING", "c"), ("DEBUG", "a"), ("INFO", "b")]


def test_a_transport_is_started_and_closed_once():
    node = Node(Scripted(stop_after=1))
    arrive(node, *presence_of("d1"))
    node.run()
    assert node.transports["down"].calls == ["start", "close"]
