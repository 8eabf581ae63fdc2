"""An artefact reaches every device through the tree, before anything is trained with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from core_messages import HEAD
from world import FEDERATION, World
from world_artefact import make_artefact
from world_shapes import irregular, make_plan, quadratic, random_centres, regular

from fedtier.core.effects import Install, Note, SavePart, Send
from fedtier.core.equipment import Equipment
from fedtier.core.events import Installed
from fedtier.ids import NodeId
from fedtier.limits import ARTEFACT_BYTES_MAX, GAP_S, WINDOW_PARTS
from fedtier.sim.broker import MemoryTransport
from fedtier.storage.artefact_store import ArtefactStore
from fedtier.wire.head import BlobRef
from fedtier.wire.packets import decode_packet
from fedtier.wire.parts import Outgoing, Part
from fedtier.wire.topics import Topic

DIMENSION = 40
# Nine parts of 4 KiB, none like another.
BLOB = np.random.default_rng(1).bytes(33_000)
# 26 parts: more than one window, so they are saved.
LARGE = np.random.default_rng(2).bytes(100_000)
OTHER = "cd" * 32

MINE = make_artefact(DIMENSION, graph=BLOB)
OTHERS = make_artefact(DIMENSION, graph=BLOB[::-1])


def make_world(disk, shape=None, *, rounds=2, **options):
    shape = shape or regular(2, 2)
    tau = (2,) * shape.height
    centres = random_centres(shape, seed=1, dimension=DIMENSION)
    return World(
        shape, make_plan(tau, rounds=rounds), quadratic(centres), disk=disk,
        start=np.zeros(DIMENSION), **{"bare": True, "artefact": MINE} | options,
    )  # fmt: skip


def held(world):
    """What each node but the cloud has on its disk."""
    below = {node: ArtefactStore(world.disk / node).get() for node in world.shape.parents}
    return {node: None if found is None else found[0] for node, found in below.items()}


class Listener:
    """Hears what one child wants of its parent."""

    def __init__(self, world: World, child: str) -> None:
        cell = NodeId(world.shape.parents[child])
        self.wanted: list[int] = []  # parts, in the order of the questions
        self.blobs: set[str] = set()  # of which
        filters = [(f"fedtier/v1/{FEDERATION}/{cell}/{child}/want", 1)]
        MemoryTransport(world.brokers[cell], "listener", filters, self).start()

    def connected(self): ...

    def message(self, topic, payload, retained):
        message = decode_packet(Topic.parse(topic), payload)
        self.wanted.extend(message.parts)
        self.blobs.add(message.digest)


@pytest.mark.covers("T-14")
@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_devices_without_an_artefact_end_with_the_model_of_those_that_had_it(tmp_path, seed):
    shape = regular(2, 2, 2) if seed is None else irregular(seed, 3)
    there = make_world(tmp_path / "there", shape, bare=False)
    there.run()
    bare = make_world(tmp_path / "bare", shape, interleaving=seed)
    bare.run()
    assert bare.digest == there.digest
    assert set(held(bare).values()) == {MINE.digest}
    assert sorted(bare.installed) == sorted((node, MINE.digest) for node in shape.parents)


@pytest.mark.covers("T-14")
def test_a_device_that_has_the_artefact_asks_for_none(tmp_path):
    world = make_world(tmp_path, bare=False)
    world.run()
    # The gateways do: they are to have it for whoever comes without.
    assert {node for node, _ in world.installed} == set(world.shape.gateways)


@pytest.mark.covers("T-14")
def test_a_new_artefact_is_rolled_out_with_the_next_run(tmp_path):
    world = make_world(tmp_path)
    world.run()
    world.crash("cloud")
    world.artefact = OTHERS
    world.begin_run(2)
    world.start("cloud")
    world.run()
    assert world.rounds_trained == 2
    assert set(held(world).values()) == {OTHERS.digest}


@pytest.mark.covers("T-14")
@pytest.mark.parametrize("node", ["d0", "g1-0"])
def test_what_has_come_is_not_asked_for_again_after_the_connection_was_lost(tmp_path, node):
    world = make_world(tmp_path)
    listener = Listener(world, node)

    def missing(world):
        fetch = world.nodes[node].machine.link.equipment._fetch
        return () if fetch is None else fetch._slot.missing(99)

    world.run(until=lambda world: 3 <= len(missing(world)) <= 6)
    left = set(missing(world))
    listener.wanted.clear()
    world.nodes[node].cut("up")
    world.nodes[node].reconnect("up")
    world.run(until=lambda world: not missing(world))
    assert set(listener.wanted) == left
    world.run()


@pytest.mark.covers("T-14")
@pytest.mark.parametrize("node", ["d0", "g1-0"])
def test_a_model_comes_while_the_artefact_is_on_its_way(tmp_path, node):
    """Its parts follow the head by themselves, so that nobody asks for them afterwards."""
    world = make_world(tmp_path)
    listener = Listener(world, node)
    world.run(until=lambda world: world.rounds_done == 1)
    assert held(world)[node] == MINE.digest
    parent = world.nodes[world.shape.parents[node]].machine.cell.head
    assert listener.blobs == {parent.artefact_blob.digest}


def parts_here(world, node):
    """How many parts of what it fetches a node has; None where it fetches nothing."""
    fetch = world.nodes[node].machine.link.equipment._fetch
    return None if fetch is None else fetch.blob.parts - fetch.left


def fields_of(world, node, event):
    return [note.fields for note in world.nodes[node].notes if note.event == event]


@pytest.mark.covers("T-14")
@pytest.mark.parametrize("node", ["d0", "g1-0"])
def test_parts_of_a_large_artefact_are_not_asked_for_again_after_a_restart(tmp_path, node):
    world = make_world(tmp_path, artefact=make_artefact(DIMENSION, graph=LARGE))
    listener = Listener(world, node)
    world.run(until=lambda w: (parts_here(w, node) or 0) >= 20)
    here = parts_here(world, node)
    listener.wanted.clear()
    world.restart(node)
    world.run(until=lambda w: w.nodes[node].machine.link.equipment.held)
    assert fields_of(world, node, "fetching artefact")[0]["here"] == here
    assert len(set(listener.wanted)) == 26 - here
    world.run()
    assert set(held(world).values()) == {world.artefact.digest}
    assert not (world.disk / node / "artefact.parts").exists()


@pytest.mark.covers("T-14")
@pytest.mark.parametrize("node", ["d0", "g1-0", "cloud"])
def test_a_node_that_dies_while_an_artefact_travels_changes_nothing(tmp_path, node):
    alone = make_world(tmp_path / "alone", bare=False)
    alone.run()
    world = make_world(tmp_path / "died")
    fetching = "d0" if node == "cloud" else node
    world.run(until=lambda w: w.nodes[fetching].machine.link.equipment.busy)
    world.restart(node)
    world.run()
    assert world.digest == alone.digest
    world.restart(fetching)
    world.settle()
    # What was installed is there again: it is not fetched a second time.
    assert world.nodes[fetching].machine.link.equipment.held == MINE.digest


@pytest.mark.covers("T-15")
def test_a_device_that_cannot_use_it_abstains_with_the_reason_and_asks_once(tmp_path):
    world = make_world(tmp_path, regular(3))
    world.unfit["d1"] = "the board takes batches of 16"
    world.run()
    reasons = [n.fields["reason"] for n in world.nodes["d1"].notes if n.event == "abstained"]
    assert len(reasons) == 3  # two rounds and the evaluation
    assert all(reason == "the board takes batches of 16" for reason in reasons)
    assert world.installed.count(("d1", MINE.digest)) == 1
    assert world.rounds_trained == 2
    del world.unfit["d1"]
    world.begin_run(2)
    world.restart("cloud")
    world.restart("d1")
    world.run()
    assert held(world)["d1"] == MINE.digest


@pytest.mark.covers("T-15")
def test_without_an_offer_a_device_says_what_is_asked_for_and_what_is_here(tmp_path):
    world = make_world(tmp_path, regular(2), bare=False, devices_hold=OTHERS)
    cell = world.cloud.machine.cell
    cell._artefact = None
    world.run()
    notes = [n for n in world.nodes["d0"].notes if n.event == "abstained"]
    assert notes
    asked, here = MINE.digest[:12], OTHERS.digest[:12]
    assert notes[0].fields["reason"] == f"artefact {asked} is asked for: {here} is here"
    assert world.rounds_trained == 0


def make_head(**changes):
    blob = BlobRef(form="zlib", digest="ee" * 32, total=5000, parts=2)
    return replace(HEAD, **{"artefact": OTHER, "artefact_blob": blob} | changes)


@pytest.mark.covers("T-9")
def test_no_room_is_made_for_more_than_an_artefact_can_be():
    equipment = Equipment(NodeId("d0"), "")
    blob = BlobRef(form="zlib", digest="ee" * 32, total=ARTEFACT_BYTES_MAX + 1, parts=2000)
    notes = equipment.fetch(make_head(artefact_blob=blob), 0.0)
    assert [note.event for note in notes] == ["artefact not installed"]
    assert not equipment.busy
    assert not equipment.lacks(make_head(artefact_blob=blob))
    assert f"at most {ARTEFACT_BYTES_MAX}" in equipment.reason(OTHER)


def test_an_artefact_whose_bytes_are_not_the_announced_ones_is_fetched_afresh():
    equipment = Equipment(NodeId("d0"), "")
    equipment.fetch(make_head(), 0.0)

    def part(index):
        size = 4000 if index == 0 else 1000
        return Part(
            kind="artefact", run=HEAD.run, epoch=0, path=HEAD.path, nonce=HEAD.nonce, seq=1,
            digest="ee" * 32, part=index, parts=2, offset=4000 * index, total=5000,
            payload=bytes(size),
        )  # fmt: skip

    assert equipment.hear(part(0), 0.5) == []
    note, want = equipment.hear(part(1), 0.5)  # the last: but the digest is another
    assert note.event == "artefact refused"
    assert want.message.parts == (0, 1)
    assert equipment.busy
    assert equipment.timer_s == 0.5 + GAP_S


def test_an_artefact_that_is_no_longer_asked_for_is_held_all_the_same_once_installed():
    equipment = Equipment(NodeId("d0"), "")
    equipment.fetch(make_head(), 0.0)
    equipment.drop()
    equipment.installed(Installed(artefact=OTHER))
    assert equipment.held == OTHER
    assert not equipment.busy


def test_what_is_being_installed_is_not_fetched_a_second_time():
    equipment = Equipment(NodeId("d0"), "")
    blob = bytes(5000)
    out = Outgoing(blob, kind="artefact", part_bytes=4096)
    listed = BlobRef(form="zlib", digest=out.digest, total=out.total, parts=out.parts)
    head = make_head(artefact_blob=listed)
    equipment.fetch(head, 0.0)
    address = {"run": HEAD.run, "epoch": 0, "path": HEAD.path, "nonce": HEAD.nonce, "seq": 1}
    effects = [e for i in range(out.parts) for e in equipment.hear(out.part(i, **address), 0.0)]
    assert effects == [Install(artefact=OTHER, blob=blob)]
    equipment.drop()  # a head in between asks for nothing
    assert equipment.busy
    assert equipment.fetch(head, 0.0) == []
    equipment.installed(Installed(artefact=OTHER))
    assert not equipment.busy


# What an earlier boot saved

ADDRESS = {"run": HEAD.run, "epoch": 0, "path": HEAD.path, "nonce": HEAD.nonce, "seq": 1}


def cut(blob, *, part_bytes=4096):
    """Its parts, and the head that offers it."""
    out = Outgoing(blob, kind="artefact", part_bytes=part_bytes)
    listed = BlobRef(form="zlib", digest=out.digest, total=out.total, parts=out.parts)
    return [out.part(i, **ADDRESS) for i in range(out.parts)], make_head(artefact_blob=listed)


def told(effects):
    return [effect.event if isinstance(effect, Note) else type(effect) for effect in effects]


def test_each_part_of_a_large_artefact_is_saved_once_and_the_last_is_installed_with_the_rest():
    parts, head = cut(LARGE)
    equipment = Equipment(NodeId("d0"), "")
    equipment.fetch(head, 0.0)
    twice = [part for part in parts[:-1] for _ in range(2)]
    saved = [e for p in twice for e in equipment.hear(p, 0.0) if isinstance(e, SavePart)]
    assert saved == [SavePart(part=p, afresh=p.part == 0) for p in parts[:-1]]
    assert equipment.hear(parts[-1], 0.0) == [Install(artefact=OTHER, blob=LARGE)]


def test_of_an_artefact_of_one_window_nothing_is_saved():
    parts, head = cut(LARGE[:60_000])
    assert len(parts) == WINDOW_PARTS
    equipment = Equipment(NodeId("d0"), "")
    equipment.fetch(head, 0.0)
    assert told(e for p in parts for e in equipment.hear(p, 0.0)) == [Install]


def test_what_was_saved_is_only_added_to():
    parts, head = cut(LARGE)
    equipment = Equipment(NodeId("d0"), "", parts[:20])
    note, want = equipment.fetch(head, 0.0)
    assert note.fields["here"] == 20
    assert want.message.parts == tuple(range(20, 26))
    assert equipment.hear(parts[20], 0.0) == [SavePart(part=parts[20], afresh=False)]
    effects = [e for p in parts[21:] for e in equipment.hear(p, 0.0)]
    assert effects[-1] == Install(artefact=OTHER, blob=LARGE)


def test_where_every_part_was_saved_none_is_asked_for():
    parts, head = cut(LARGE)
    equipment = Equipment(NodeId("d0"), "", parts)
    assert told(equipment.fetch(head, 0.0)) == ["fetching artefact", Install]


@pytest.mark.parametrize(
    "saved",
    [cut(LARGE[::-1])[0], cut(LARGE, part_bytes=5000)[0], cut(LARGE)[0][:5] + cut(BLOB)[0]],
    ids=["of another", "cut otherwise", "mixed"],
)
def test_parts_that_are_not_of_this_artefact_as_it_is_cut_now_are_of_no_use(saved):
    parts, head = cut(LARGE)
    equipment = Equipment(NodeId("d0"), "", saved)
    note, want = equipment.fetch(head, 0.0)
    assert note.fields["here"] == 0
    assert want.message.parts == tuple(range(WINDOW_PARTS))
    assert equipment.hear(parts[0], 0.0) == [SavePart(part=parts[0], afresh=True)]


def test_an_artefact_that_does_not_verify_because_of_a_saved_part_is_fetched_afresh():
    parts, head = cut(LARGE)
    forged = replace(parts[3], payload=bytes(len(parts[3].payload)))  # its CRC would be right
    equipment = Equipment(NodeId("d0"), "", [*parts[:3], forged, *parts[4:]])
    effects = equipment.fetch(head, 0.0)
    assert told(effects) == ["fetching artefact", "artefact refused", Send]
    assert effects[-1].message.parts == tuple(range(WINDOW_PARTS))
    again = [e for part in parts for e in equipment.hear(part, 0.0)]
    assert again[0] == SavePart(part=parts[0], afresh=True)
    assert again[-1] == Install(artefact=OTHER, blob=LARGE)
