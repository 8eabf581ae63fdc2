"""Out of the nodes' logs a person is told who is up, and who waits for whom."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fedtier.demo.node_logs import NodeLogs
from fedtier.ids import NodeId
from fedtier.show import screen as screen_module
from fedtier.show.screen import Screen
from fedtier.show.tail import Tail
from fedtier.topology import Node, Topology

PARENTS = {"cloud": None, "west": "cloud", "east": "cloud", "w-0": "west", "e-0": "east"}
TIERS = {"cloud": 2, "west": 1, "east": 1}
TREE = Topology(
    nodes=tuple(
        Node(id=NodeId(node), tier=TIERS.get(node, 0), parent=parent and NodeId(parent))
        for node, parent in PARENTS.items()
    )
)
WAITS = "waiting for answers  path=r0.0 seconds=10 silent="


@pytest.fixture
def logs(tmp_path):
    paths = {NodeId(node): tmp_path / f"{node}.log" for node in PARENTS}
    return NodeLogs(TREE, paths)


@pytest.fixture
def say(tmp_path):
    def write(node, *events):
        with (tmp_path / f"{node}.log").open("a") as file:
            file.writelines(f"2026-01-01T00:00:00 INFO    {event}\n" for event in events)

    return write


def test_only_whole_lines_are_read_and_each_once(tmp_path):
    tail = Tail(tmp_path / "log")
    assert tail.lines() == []
    seen = []
    with tail.path.open("ab") as file:
        for piece in (b"a", b"b\nc", b"", b"\n\nd\n\xff", b"\n"):
            file.write(piece)
            file.flush()
            seen.append(tail.lines())
    assert seen == [[], ["ab"], [], ["c", "", "d"], ["\N{REPLACEMENT CHARACTER}"]]


def test_a_node_is_up_once_it_has_reached_a_broker(logs, say):
    say("w-0", "started  node=w-0", "connected  side=up broker=mqtt://127.0.0.1:1")
    say("e-0", "disconnected  side=up")
    logs.listen()
    logs.listen()
    assert logs.connected == {"w-0"}


def test_a_device_that_never_trained_has_the_reason_it_gave_last(logs, say):
    say("w-0", "abstained  path=r0.0 reason='the board is hot'", "classes not trained  classes=a")
    say("w-0", 'abstained  path=r1.0 reason="w-0.toml [data]: it\'s too short"')
    say("e-0", "abstained  path=r0.0 reason=hot", "trained  path=r0.1 steps=4")
    say("west", "member abstained  node=w-0 reason='another'")
    logs.listen()
    assert logs.untrained() == {"w-0": "w-0.toml [data]: it's too short"}
    say("w-0", "trained  path=r2.0 steps=4 training_loss=1.5")
    logs.listen()
    assert logs.untrained() == {}


def test_a_device_that_never_trained_may_have_given_no_reason(logs):
    logs.listen()
    assert logs.untrained() == dict.fromkeys(("e-0", "w-0"), "it gave no reason")


def test_the_number_of_nodes_that_are_up_is_told_in_grammar(shown):
    screen, file = shown
    screen.show_up({NodeId("w-0")})
    screen.show_up({NodeId("w-0"), NodeId("west")})
    assert file.getvalue() == "1 of 5 nodes is up\n2 of 5 nodes are up\n"


def test_of_parents_that_wait_for_one_another_the_lowest_is_shown(logs, say):
    say("cloud", WAITS + "west")
    logs.listen()
    assert logs.waiting() == [f"cloud  {WAITS}west"]
    say("west", WAITS + "w-0")
    say("east", WAITS + "e-0")
    logs.listen()
    assert logs.waiting() == [f"east  {WAITS}e-0", f"west  {WAITS}w-0"]


@pytest.mark.parametrize(
    "event", ["iteration closed  path=r0.0", "waiting is over  seconds=12", "round opened  path=r0"]
)
def test_a_wait_that_has_ended_is_not_shown_nor_those_for_it(logs, say, event):
    say("cloud", WAITS + "west")
    say("west", WAITS + "w-0", "member lost  node=w-0")
    say("east", WAITS + "e-0")
    logs.listen()
    say("west", event)
    logs.listen()
    assert logs.waiting() == [f"east  {WAITS}e-0"]
    say("east", event, WAITS + "again")
    logs.listen()
    assert logs.waiting() == [f"east  {WAITS}again"]


@pytest.fixture
def shown(monkeypatch):
    """A screen of plain lines, what it shows, and how long it must have been quiet for a wait."""
    monkeypatch.setattr(screen_module, "_QUIET_S", 0.0)
    console = Console(file=io.StringIO(), width=80)
    return Screen(console, TREE, rounds=3, title="a title"), console.file


def test_a_wait_is_shown_once_for_as_long_as_it_reads_the_same(shown):
    screen, file = shown
    for waiting in ([], ["west  a [b]"], ["west  a [b]"], [], [], ["west  c", "east  d"]):
        screen.show_waiting(waiting)
    assert file.getvalue() == "west  a [b]\nwest  c\neast  d\n"


def test_rounds_that_close_leave_no_room_for_waits(shown, monkeypatch):
    monkeypatch.setattr(screen_module, "_QUIET_S", 3600.0)
    screen, file = shown
    screen.show_rounds([{"round": 0, "members": 1, "accuracy": 0.5, "loss": 1.0, "links": []}])
    screen.show_waiting(["west  a"])
    (line,) = file.getvalue().splitlines()
    assert line.startswith("round 1  held-out accuracy 50.0 %  loss 1.000 ")


def test_on_a_terminal_waits_stand_below_the_figures_while_they_last(monkeypatch):
    console = Console(file=io.StringIO(), width=80, height=60, force_terminal=True)
    screen = Screen(console, TREE, rounds=3, title="a title")
    screen.show_waiting([f"west  {n}" for n in range(9)])
    console.print(screen._picture())
    assert [f"west  {n}" in console.file.getvalue() for n in range(9)] == [True] * 4 + [False] * 5
    screen.show_waiting([])
    console.file.truncate(0)
    console.print(screen._picture())
    assert "west  0" not in console.file.getvalue()
