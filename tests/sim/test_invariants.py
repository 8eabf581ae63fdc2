"""What must always hold is found broken where it is broken; a trace tells two runs apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sim_nodes import Scripted, make_world

from fedtier.core.aggregator import TierAggregator
from fedtier.core.effects import Aggregate, Job, Send
from fedtier.core.events import Aggregated, Connected
from fedtier.core.figures import Figures
from fedtier.ids import BootNonce, FederationId, IterationPath, NodeId, RunId
from fedtier.limits import TRANSFERS_AT_ONCE, WINDOW_PARTS
from fedtier.sim.broker import MemoryTransport
from fedtier.sim.invariants import Invariants
from fedtier.sim.line import Line
from fedtier.storage.spool import Spool
from fedtier.wire.head import Head, Member
from fedtier.wire.manifest import UpdateManifest, encode_update
from fedtier.wire.messages import Presence, Want
from fedtier.wire.packets import encode_packet
from fedtier.wire.parts import Outgoing
from fedtier.wire.plan import CodecSpec, Plan

C, A, B = NodeId("c"), NodeId("a"), NodeId("b")
PLAN = Plan(
    seed=7, rounds=1, tau=(1,), codecs=(CodecSpec(name="identity"),), schedule="constant", mu=0.1,
    floor=1.0,
)  # fmt: skip
HEAD = Head(
    nonce=BootNonce(1), seq=1, run=RunId(1), epoch=0, path=IterationPath((0,)), state="open",
    task="train", model="ab" * 32, layout="cd" * 32, dimension=1, artefact="ef" * 32, blobs=(),
    tier=1, first_step=0, p0=0.0, p1=1.0, plan=PLAN, members=(),
)  # fmt: skip
AGGREGATE = Aggregate(
    job=Job.of(HEAD), head=HEAD, came=(Member(node=A, weight=1), Member(node=B, weight=1)),
    admitted_weight=2, above=None, done=1, trained=1, seconds=0.0, reasons=(), model=b"",
    figures=Figures(),
)  # fmt: skip
EMPTY = replace(AGGREGATE, came=())
AGGREGATED = Aggregated(job=AGGREGATE.job, model="ab" * 32, blob=b"")


def update(child, *, base=HEAD.model):
    manifest = UpdateManifest(
        run=HEAD.run, path=HEAD.path, node=child, task="train", base=base, layout=HEAD.layout,
        weight=1, codec="identity",
    )  # fmt: skip
    return encode_update(manifest, (b"\0\0\0\0",))


def spool(world, **blobs):
    for child, blob in blobs.items():
        Spool(world.nodes[C].state_dir / "spool").put(HEAD.run, HEAD.path, NodeId(child), blob)


@pytest.fixture
def summing(tmp_path):
    """A world whose parent asks for sums, in each boot for those that are given for it."""

    def make(*boots):
        left, now = list(boots), []

        def script(event):
            if isinstance(event, Connected):
                now[:] = left.pop(0)
            return [now.pop(0)] if now else ()

        world = make_world(
            tmp_path, {"c": Scripted(script)},
            perform=lambda host, effect: host.work(lambda: replace(AGGREGATED, job=effect.job)),
        )  # fmt: skip
        Invariants(world)
        return world

    return make


def run(world, *nodes):
    for node in nodes or (C,):
        world.nodes[node].start()
    world.agenda.run_until_idle()


def test_a_mean_of_what_is_in_the_spool_from_one_model_is_as_it_must_be(summing):
    later = replace(HEAD, path=IterationPath((1,)))
    world = summing([AGGREGATE, replace(EMPTY, head=later, job=Job.of(later))])
    spool(world, a=update(A), b=update(B))
    run(world)


@pytest.mark.parametrize(
    ("spooled", "complaint"),
    [
        ({"a": update(A)}, "b is counted in r0 of c, and its update is not there"),
        ({"a": update(A), "b": update(A)}, "a's update counts as b's in r0 of c"),
        ({"a": update(A), "b": update(B, base="00" * 32)}, "b began from another model in r0"),
    ],
)
def test_a_mean_of_anything_else_is_found_out(summing, spooled, complaint):
    world = summing([AGGREGATE])
    spool(world, **spooled)
    with pytest.raises(AssertionError, match=complaint):
        run(world)


def test_a_member_that_counts_twice_is_found_out(summing):
    world = summing([replace(AGGREGATE, came=AGGREGATE.came[:1] * 2)])
    spool(world, a=update(A))
    with pytest.raises(AssertionError, match="a member is counted twice in r0 of c"):
        run(world)


def restart(world):
    world.nodes[C].crash()
    run(world)


def test_an_iteration_that_closes_twice_is_found_out(summing):
    world = summing([EMPTY, EMPTY])
    with pytest.raises(AssertionError, match="r0 of c is closed a second time"):
        run(world)


def test_an_iteration_that_closes_again_after_a_restart_is_found_out(summing):
    world = summing([EMPTY], [EMPTY])
    run(world)
    with pytest.raises(AssertionError, match="r0 of c is closed a second time"):
        restart(world)


def test_a_sum_that_a_crash_has_ended_is_no_closing(summing):
    world = summing([EMPTY], [EMPTY])
    world.takes_s = lambda node, effect: 5.0
    world.nodes[C].start()
    world.agenda.at(1.0, lambda: None)
    world.run(until=lambda: world.agenda.now_s >= 1)
    restart(world)


def test_in_a_later_epoch_or_on_a_new_disk_it_may_close_again(summing):
    later = replace(HEAD, epoch=1)
    world = summing([EMPTY], [replace(EMPTY, head=later)], [EMPTY])
    run(world)
    restart(world)
    world.nodes[C].crash()
    world.nodes[C].lose_disk()
    run(world)


def test_who_asks_for_more_than_a_window_is_found_out(tmp_path):
    want = Want(digest="ab" * 32, parts=tuple(range(WINDOW_PARTS + 1)))
    script = [Send(side="up", message=want, node=A)]
    machine = Scripted(lambda event: script if isinstance(event, Connected) else ())
    world = make_world(tmp_path, {"a": machine})
    Invariants(world)
    with pytest.raises(AssertionError, match="a asks for 17 parts at once"):
        run(world, A)


CELLS = {"c": ("g", "b"), "g": ("a",)}
PRESENCE = Presence(status="online", nonce=BootNonce(3))


def say(world, broker, message, *, cell, node, client="x"):
    """Put a message of one cell on the broker of a cell."""
    topic, payload, qos, _ = encode_packet(
        message, federation=FederationId("f"), cell=NodeId(cell), node=NodeId(node)
    )
    filters = [(topic, 1)]
    transport = MemoryTransport(world.brokers[NodeId(broker)], client, filters, Deaf())
    transport.start()
    transport.publish(topic, payload, qos=qos, retain=False)
    world.agenda.run_until_idle()


class Deaf:
    def connected(self): ...
    def message(self, topic, payload, retained): ...


def test_a_message_on_the_broker_of_another_cell_is_found_out(tmp_path):
    world = make_world(tmp_path, {}, cells=CELLS)
    Invariants(world)
    say(world, "g", PRESENCE, cell="g", node="a")
    with pytest.raises(AssertionError, match="f/c/g/presence on the broker of g"):
        say(world, "g", PRESENCE, cell="c", node="g", client="y")


def test_an_update_that_is_handed_on_as_it_came_is_found_out(tmp_path):
    world = make_world(tmp_path, {}, cells=CELLS)
    Invariants(world)
    part = Outgoing(update(A), kind="update", part_bytes=4096).part(
        0, run=HEAD.run, epoch=0, path=HEAD.path, nonce=HEAD.nonce, seq=1
    )
    say(world, "g", part, cell="g", node="a")
    say(world, "g", part, cell="g", node="a", client="again")
    with pytest.raises(AssertionError, match="heard in g is heard in c, too"):
        say(world, "c", part, cell="c", node="g", client="y")


def test_more_transfers_at_once_than_there_are_places_are_found_out(tmp_path):
    gateway = TierAggregator(
        node=NodeId("g"), parent=C, tier=1, members=[A], members_min=1, part_bytes=4096,
        nonce=BootNonce(5),
    )  # fmt: skip
    gateway.cell._intake._transfers = dict.fromkeys(range(TRANSFERS_AT_ONCE + 1))
    world = make_world(tmp_path, {"g": gateway}, cells=CELLS)
    Invariants(world)
    with pytest.raises(AssertionError, match="5 updates travel to g"):
        run(world, NodeId("g"))


def trace_of(tmp_path, **options):
    machine = Scripted(
        lambda event: (
            [Send(side="up", message=PRESENCE, node=A)] if isinstance(event, Connected) else ()
        )
    )
    world = make_world(tmp_path, {"a": machine}, **options)
    invariants = Invariants(world)
    empty = invariants.trace
    world.start()
    world.agenda.run_until_idle()
    assert invariants.trace != empty
    return invariants.trace


def test_a_trace_is_of_the_seed_and_tells_times_apart(tmp_path):
    def late(s, jitter_s=0.0):
        return {"line_of": lambda child: Line(latency_s=s, jitter_s=jitter_s)}

    plain = trace_of(tmp_path / "1")
    assert trace_of(tmp_path / "2") == plain
    assert trace_of(tmp_path / "3", **late(1.0)) != plain
    jittered = [trace_of(tmp_path / f"s{n}", seed=s, **late(1.0, 0.5)) for n, s in enumerate("112")]
    assert jittered[0] == jittered[1] != jittered[2]
