"""Work in virtual time: it sleeps, is given up, is lost in a crash, and is done in order."""

from __future__ import annotations

import pytest
from sim_nodes import Scripted, make_world

from fedtier.core.effects import Job, Preempt, Stop
from fedtier.core.events import Connected, Tick, WorkDone
from fedtier.ids import IterationPath, NodeId, RunId
from fedtier.sim.host import EXIT_KILLED

JOB = Job(run=RunId(1), path=IterationPath((0,)), task="train", base="ab" * 32)
PREEMPT = Preempt(job=JOB)  # an effect that is a role's own
A = NodeId("a")


def on(kind, *effects):
    """Answer events of a kind with these effects."""
    return lambda event: effects if isinstance(event, kind) else ()


def never():
    return False


@pytest.fixture
def place(tmp_path):
    """A started device whose machine asks for one piece of work when it is connected."""

    def make(task, *, timer_s=None, script=None, again=(), **options):
        machine = Scripted(script or on(Connected, PREEMPT), timer_s)
        tasks = [task, *again]

        def perform(host, effect):
            for each in tasks:
                host.work(lambda each=each: each(host))

        world = make_world(tmp_path, {"a": machine}, perform=perform, **options)
        world.nodes[A].start()
        return world, world.nodes[A], machine

    return make


def test_work_takes_the_time_it_sleeps_and_its_event_comes_then(place):
    done = WorkDone(job=JOB, blob=b"x")

    def task(host):
        host.sleep(2.5, given_up=never)
        host.sleep(4.0, given_up=never)
        return done

    world, node, machine = place(task)
    world.agenda.run_until_idle()
    assert machine.events == [(0.0, Connected(side="up")), (6.5, done)]
    assert node.host.busy_s == 6.5
    assert node.host.worked()
    assert not node.host.worked()


def test_pieces_of_work_are_done_one_after_another(place):
    log = []

    def task(name):
        def work(host):
            log.append((name, host.now_s()))
            host.sleep(3.0, given_up=never)

        return work

    world, _, _ = place(task("first"), again=[task("second"), task("third")])
    world.agenda.run_until_idle()
    assert log == [("first", 0.0), ("second", 3.0), ("third", 6.0)]


def test_other_nodes_go_on_while_one_sleeps(place):
    world, _, _ = place(lambda host: host.sleep(10.0, given_up=never))
    world.nodes[NodeId("b")].start()
    world.agenda.at(4.0, lambda: seen.append(world.nodes[A].host.busy_s))
    seen = []
    world.agenda.run_until_idle()
    assert seen == [0.0]
    assert world.agenda.now_s == 10.0


def test_a_sleep_ends_when_its_node_gives_it_up_and_not_before_it_is_asked(place):
    wish, ended_s = [], []

    def task(host):
        host.sleep(100.0, given_up=lambda: bool(wish))
        ended_s.append(host.now_s())
        host.sleep(1.0, given_up=never)  # the wake-up of the first must not end the second
        ended_s.append(host.now_s())

    world, _, _ = place(task, timer_s=7.0)
    world.agenda.at(5.0, lambda: wish.append(True))  # heard at the next turn of the loop
    world.agenda.run_until_idle()
    assert ended_s == [7.0, 8.0]


def test_a_crash_loses_the_work_and_all_that_was_to_come(place):
    log = []

    def task(host):
        log.append("begun")
        try:
            host.sleep(10.0, given_up=never)
            log.append("went on")
        finally:
            log.append("gone")
        return WorkDone(job=JOB, blob=b"x")

    world, node, machine = place(task, again=[task], timer_s=20.0)
    world.agenda.at(4.0, node.crash)
    world.agenda.run_until_idle()
    assert log == ["begun", "gone"]
    assert node.host.exit_code == EXIT_KILLED
    assert not node.running
    assert not node.done
    assert machine.events == [(0.0, Connected(side="up"))]


def test_a_crash_between_the_end_of_work_and_its_event_leaves_what_was_stored(place):
    """Both happen at one time; another thing that happens then may come in between."""
    stored = []

    def task(host):
        host.sleep(3.0, given_up=never)
        stored.append(host.now_s())
        world.agenda.after(0, node.crash)
        return WorkDone(job=JOB, blob=b"x")

    world, node, machine = place(task)
    world.agenda.run_until_idle()
    assert stored == [3.0]
    assert [type(event) for _, event in machine.events] == [Connected]


def test_a_node_that_was_killed_starts_again_with_its_disk_and_a_nonce_of_its_own(place):
    _, node, _ = place(lambda host: None)
    (node.state_dir / "kept").write_text("here")
    before = node.nonce
    node.crash()
    node.start()
    assert (node.boots, node.running) == (2, True)
    assert (node.state_dir / "kept").read_text() == "here"
    assert node.nonce != before
    node.crash()
    node.lose_disk()
    assert not node.state_dir.exists()


def test_work_that_asks_for_the_end_ends_the_node_there_and_then(place):
    def task(host):
        host.sleep(2.0, given_up=never)
        host.stop(0)

    world, node, _ = place(task, again=[lambda host: pytest.fail("after the end")])
    world.run(until=lambda: node.done)
    assert (node.host.exit_code, world.agenda.now_s) == (0, 2.0)
    world.agenda.run_until_idle()


def test_a_stop_gives_up_what_sleeps(place):
    log = []

    def task(host):
        try:
            host.sleep(50.0, given_up=never)
        finally:
            log.append(host.now_s())

    stop = Stop(exit_code=78, reason="because")
    machine_says = {Connected: (PREEMPT,), Tick: (stop,)}
    world, node, _ = place(
        task, timer_s=6.0, script=lambda event: machine_says.get(type(event), ())
    )
    world.agenda.run_until_idle()
    assert log == [6.0]
    assert node.host.exit_code == 78


def test_what_is_preempted_takes_no_more_of_the_time_that_the_world_asks_for_it(place):
    began_s = []
    world, _, _ = place(
        lambda host: began_s.append(host.now_s()), timer_s=5.0,
        script=on((Connected, Tick), PREEMPT), takes_s=lambda node, effect: 30.0,
    )  # fmt: skip
    world.agenda.run_until_idle()
    assert began_s == [5.0, 35.0]  # the first is preempted by what asks for the second


def test_a_machine_whose_timer_stays_is_found_out(tmp_path):
    class Spinning(Scripted):
        def handle(self, event, now_s):
            return []

    world = make_world(tmp_path, {"a": Spinning(timer_s=3.0)})
    world.nodes[A].start()
    with pytest.raises(AssertionError, match=r"a would spin: its timer stays at 3\.0"):
        world.agenda.run_until_idle()
