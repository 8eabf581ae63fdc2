"""Heads and models that cannot be are answered by an abstention with the reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from crooked_world import CENTRES, DIMENSION, Rogue, make_world, open_cell
from world import World
from world_shapes import make_plan, quadratic, regular

from fedtier.ids import BootNonce, IterationPath
from fedtier.wire.head import BlobRef
from fedtier.wire.manifest import decode_model, encode_model
from fedtier.wire.parts import Outgoing
from fedtier.wire.plan import CodecSpec


def lying_head(world, rogue, **changes):
    """A head of a new boot of d0's parent, on its own model of zeros, with these changes."""
    real = open_cell(world)
    lie = replace(real, nonce=BootNonce(77), seq=1, path=IterationPath((3,)))
    lie = replace(lie, **{k: v for k, v in changes.items() if k != "blob"})
    rogue.say(lie)
    world.settle()
    return lie


def one_answer(world, **changes):
    rogue = Rogue(world, "cloud", hears="d0/update/0")
    lying_head(world, rogue, **changes)
    world.run(until=lambda world: bool(rogue.heard) or world.now_s > 50)
    return rogue.heard[0] if rogue.heard else None


@pytest.mark.parametrize(
    "lie",
    [
        {"blobs": ()},
        {"blobs": (BlobRef(form="zlib", digest="ab" * 32, total=10, parts=1),)},
        {"blobs": (BlobRef(form="float32", digest="ab" * 32, total=2**31, parts=9),)},
        {"blobs": (BlobRef(form="float32", digest="ab" * 32, total=3, parts=9),)},
        {"artefact": "cd" * 32, "artefact_blob": None},
        {"layout": "cd" * 32}, {"dimension": 7},
    ],
    ids=str,
)  # fmt: skip
def test_a_head_that_cannot_be_served_is_answered_by_an_abstention_with_the_reason(tmp_path, lie):
    if "blobs" in lie:
        lie = {"model": "aa" * 32} | lie
    world = make_world(tmp_path, 3, world_options={"work_s": lambda node: 30.0})
    assert one_answer(world, **lie) is not None
    note = next(n for n in world.nodes["d0"].notes if n.event == "abstained")
    assert note.fields["reason"]


def test_a_head_with_an_unknown_codec_is_answered_by_an_abstention(tmp_path):
    world = make_world(tmp_path, 3, world_options={"work_s": lambda node: 30.0})
    plan = replace(world.plan, codecs=(CodecSpec(name="wavelet"),))
    assert one_answer(world, plan=plan) is not None


@pytest.mark.parametrize("kind", ["another model", "another dimension", "no model"])
@pytest.mark.covers("W-10")
def test_a_model_that_is_not_what_the_head_says_is_not_trained_from(tmp_path, kind):
    world = make_world(tmp_path, 3, world_options={"work_s": lambda node: 30.0})
    head = open_cell(world)
    vector = np.ones(DIMENSION if kind == "another model" else 7, np.float32)
    blob = encode_model(vector, model=head.model, layout=head.layout)
    if kind == "no model":
        blob = b"x" * len(blob)
    outgoing = Outgoing(blob, kind="model", part_bytes=65_536)
    rogue = Rogue(world, "cloud", hears="d0/+")
    listed = BlobRef(form="float32", digest=outgoing.digest, total=len(blob), parts=outgoing.parts)
    lying_head(world, rogue, model="aa" * 32, blobs=(listed,))
    for index in range(outgoing.parts):
        rogue.say(
            outgoing.part(index, run=head.run, epoch=0, path=head.path, nonce=BootNonce(77), seq=1)
        )
    world.settle()
    assert world.nodes["d0"].machine.state in ("offering", "settled")
    assert "abstained" in world.nodes["d0"].events


@pytest.mark.parametrize(
    "lie",
    [
        {"tier": 1},
        {"codec": "wavelet"},
        {"range_bits": 30},
    ],
    ids=str,
)
def test_a_gateway_refuses_what_its_cell_could_not_carry_out(tmp_path, lie):
    heavy = {"d0": 2**10, "d1": 2**10}
    world = World(
        regular(2, 2, weights=heavy), make_plan((1, 1)), quadratic(CENTRES), disk=tmp_path,
        start=np.zeros(DIMENSION), work_s=lambda node: 30.0,
    )  # fmt: skip
    plan = world.plan
    if "codec" in lie:
        plan = replace(plan, codecs=(CodecSpec(name="wavelet"), plan.codecs[1]))
    if "range_bits" in lie:
        plan = replace(plan, range_bits=30)
    head = open_cell(world)
    rogue = Rogue(world, "cloud", hears="g1-0/update/0")
    beneath = world.nodes["g1-0"].machine._presence.beneath
    members = tuple(replace(m, beneath=beneath) if m.node == "g1-0" else m for m in head.members)
    changes = {k: v for k, v in lie.items() if k in ("tier", "path", "task")}
    changes = {"path": IterationPath((3,))} | changes
    rogue.say(replace(head, nonce=BootNonce(77), seq=1, plan=plan, members=members, **changes))
    world.run(until=lambda world: bool(rogue.heard) or world.now_s > 25)
    assert "abstained" in world.nodes["g1-0"].events


@pytest.mark.covers("H-2")
def test_the_last_model_of_a_finished_run_is_kept_by_every_device(tmp_path):
    world = make_world(tmp_path, 2, 2, 2)
    world.run()
    world.settle()
    world.run(until=lambda world: world.now_s > 100)
    for device in world.shape.devices:
        kept, digest, _ = decode_model(world.nodes[device].kept.model)
        np.testing.assert_array_equal(kept, world.model)
        assert digest == world.digest
        assert world.nodes[device].kept.head.artefact == world.artefact.digest
