"""Whatever may be said is understood as it was meant, on the topic where it belongs."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_examples import HEAD
from wire_strategies import digests, ids, manifests, messages

from fedtier.errors import WireError
from fedtier.ids import NodeId
from fedtier.wire.blob import decode_blob, encode_blob
from fedtier.wire.head import Beacon, Head
from fedtier.wire.manifest import (
    clip_reason,
    decode_model,
    decode_update,
    encode_model,
    encode_update,
    peek_update,
)
from fedtier.wire.packets import channel_of, decode_packet, encode_packet
from fedtier.wire.parts import Part
from fedtier.wire.topics import ALL, FOR_ALL, Topic


@given(message=messages, node=ids)
def test_a_message_comes_back_from_its_topic_and_bytes(message, node):
    node = ALL if channel_of(message) in FOR_ALL else node
    topic, payload, _, _ = encode_packet(message, federation="f", cell="gw", node=node)
    parsed = Topic.parse(topic)
    assert (parsed.federation, parsed.cell, parsed.node) == ("f", "gw", node)
    assert decode_packet(parsed, payload) == message


@given(message=messages.filter(lambda message: not isinstance(message, Part)))
def test_json_is_canonical(message):
    payload = message.encode()
    text = json.dumps(json.loads(payload), sort_keys=True, separators=(",", ":"))
    assert payload == text.encode("ascii")


@given(message=messages, node=ids)
def test_only_a_head_and_a_presence_are_retained_and_a_beacon_never_is(message, node):
    channel = channel_of(message)
    node = ALL if channel in FOR_ALL else node
    _, _, qos, retained = encode_packet(message, federation="f", cell="gw", node=node)
    assert retained == (channel == "presence" or isinstance(message, Head))
    assert qos == (0 if channel in ("want", "ack") or isinstance(message, Beacon) else 1)


@given(manifest=manifests, sections=st.lists(st.binary(max_size=200), max_size=5))
def test_an_update_comes_back_from_its_blob(manifest, sections):
    blob = encode_update(manifest, tuple(sections))
    update = decode_update(blob)
    assert update.manifest == manifest == peek_update(blob)
    assert [bytes(section) for section in update.sections] == sections


@pytest.mark.covers("W-5")
@given(sections=st.lists(st.binary(max_size=200), max_size=64))
def test_sections_lie_at_multiples_of_64(sections):
    blob = encode_blob("update", {}, sections)
    for index in range(len(sections)):
        offset = int.from_bytes(blob[20 + 16 * index : 28 + 16 * index], "little")
        assert offset % 64 == 0
        assert blob[offset:].startswith(sections[index])
    assert decode_blob(blob, kind="update").manifest.raw() == {}


@given(
    parameters=st.lists(st.floats(width=32), min_size=1, max_size=9),
    model=digests,
    layout=digests,
)
def test_a_model_comes_back_to_the_bit(parameters, model, layout):
    vector = np.array(parameters, np.float32)
    decoded, its_model, its_layout = decode_model(encode_model(vector, model=model, layout=layout))
    assert decoded.tobytes() == vector.tobytes()
    assert (its_model, its_layout) == (model, layout)
    assert decoded.flags.writeable


@pytest.mark.covers("W-7")
@given(manifest=manifests, data=st.data())
def test_an_update_of_weight_0_carries_no_sections(manifest, data):
    empty = dataclasses.replace(manifest, weight=0)
    assert decode_update(encode_update(empty, ())).sections == ()
    blob = encode_update(empty, (data.draw(st.binary(max_size=9)),))
    with pytest.raises(WireError, match="weight 0 carries sections"):
        decode_update(blob)


@given(text=st.text(max_size=400))
def test_any_reason_fits_a_manifest_after_clipping(text):
    clipped = clip_reason(text)
    assert len(clipped) <= 200
    assert clipped.isascii()
    assert clipped.isprintable()


def test_a_reason_that_is_too_long_ends_behind_a_word():
    assert clip_reason("w" * 200) == "w" * 200
    assert clip_reason("w" * 201) == "w" * 196 + " ..."
    assert clip_reason("four " * 40) == "four " * 40
    assert clip_reason("four " * 41) == "four " * 39 + "..."
    assert clip_reason("a " + "w" * 194 + " end") == "a " + "w" * 194 + " end"
    assert clip_reason("a " + "w" * 194 + " and on") == "a " + "w" * 194 + " ..."
    assert clip_reason("a " + "w" * 199) == "a ..."


def test_a_head_knows_its_members():
    assert HEAD.member(NodeId("wrist-05")).weight == 1
    assert HEAD.member(NodeId("wrist-06")) is None
