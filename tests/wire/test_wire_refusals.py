"""A field that is missing, of another type or out of range is refused, by name, and no more."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
from wire_examples import ACK, BEACON, EXAMPLES, HEAD, PLAN, PRESENCE, UPDATE_BLOB, WANT

from fedtier.errors import WireError
from fedtier.wire.blob import encode_blob
from fedtier.wire.fields import Fields, from_json
from fedtier.wire.head import decode_head_or_beacon
from fedtier.wire.manifest import UpdateManifest, decode_model, peek_update
from fedtier.wire.messages import Ack, Presence, Want
from fedtier.wire.plan import Plan, members_needed


def decode_manifest(payload):
    return UpdateManifest.from_fields(from_json(payload, what="manifest", bytes_max=4096))


def decode_model_manifest(payload):
    return decode_model(encode_blob("model", json.loads(payload), [bytes(24)]))


MODEL_MANIFEST = {
    "format": 1, "form": "float32", "model": "ab" * 32, "layout": "cd" * 32, "dimension": 6,
}  # fmt: skip
DOCUMENTS = {
    "presence": (Presence.decode, json.loads(PRESENCE.encode())),
    "head": (decode_head_or_beacon, json.loads(HEAD.encode())),
    "beacon": (decode_head_or_beacon, json.loads(BEACON.encode())),
    "want": (Want.decode, json.loads(WANT.encode())),
    "ack": (Ack.decode, json.loads(ACK.encode())),
    "update manifest": (decode_manifest, peek_update(UPDATE_BLOB).to_json()),
    "model manifest": (decode_model_manifest, MODEL_MANIFEST),
}
OTHER_TYPES = {
    bool: [0, 1, None, "true", [], {}, 1.0],
    int: [True, False, 1.5, "1", None, [], {}, [1]],
    float: [True, "1", [], {}, "NaN"],
    str: [True, 1, None, [], {}, ["x"], "\ud800", "a\nb"],
    list: [True, 1, None, "x", {}, 1.5],
    dict: [True, 1, None, "x", [], 1.5],
}


def places(value, at=()):
    """Every field, at any depth."""
    if at and at[0] == "figures":  # read by whoever folds them
        return
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, (dict, list)):
            yield from places(inner, (*at, key))
        else:
            yield (*at, key)


def changed(document, place, value):
    result = copy.deepcopy(document)
    inner = result
    for key in place[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return result


def at(document, place):
    for key in place:
        document = document[key]
    return document


CASES = [
    pytest.param(name, place, id=f"{name}: {'.'.join(map(str, place))}")
    for name, (_, document) in DOCUMENTS.items()
    for place in places(document)
]


def may_be_missing(document, place):
    """What is optional; and of these lists one entry fewer is a shorter list."""
    if place == ("artefact_blob",) or place[:2] == ("plan", "codecs"):
        return True
    return isinstance(at(document, place[:-1]), list) and place[-2] in ("parts", "members", "blobs")


@pytest.mark.covers("W-2")
@pytest.mark.parametrize(("name", "place"), CASES)
def test_a_field_is_refused_when_missing_or_of_another_type(name, place):
    decode, document = DOCUMENTS[name]
    decode(json.dumps(document).encode())
    if not may_be_missing(document, place):
        with pytest.raises(WireError):
            decode(json.dumps(changed(document, place, ...)).encode())
    present = at(document, place)
    kind = str if present is None else type(present)
    for value in OTHER_TYPES[kind]:
        if place[:2] == ("plan", "deadline_s") and value in (None, 1, 0):
            continue
        if place[:2] == ("plan", "codecs") and isinstance(value, float):
            continue  # another codec's parameters are no whole numbers; a node knows its own
        with pytest.raises(WireError):
            decode(json.dumps(changed(document, place, value)).encode())


RANGES = [
    ("presence", ("status",), ["", "Online", "gone"]),
    ("presence", ("nonce",), ["", "0" * 15, "0" * 17, "G" * 16, "A" * 16]),
    ("presence", ("weight",), [-1, 2**31, 10**30]),
    ("presence", ("devices",), [-1, 2**31]),
    ("presence", ("beneath",), ["0" * 15, "0" * 17, "x" * 16, "é" * 16, " " * 16]),
    ("presence", ("version",), ["x" * 41, "a\tb"]),
    ("head", ("kind",), ["heads", ""]),
    ("head", ("seq",), [-1, 2**32]),
    ("head", ("epoch",), [-1, 2**32]),
    ("head", ("path",), ["", "r", "12.3", "r1.2.3.4", f"r{2**32}", "r-1", "r1..2", "r1.²"]),
    ("head", ("state",), ["closed"]),
    ("head", ("task",), ["sleep"]),
    ("head", ("model",), ["ab" * 31, "AB" * 32, "xy" * 32]),
    ("head", ("dimension",), [0, 2**28 + 1]),
    ("head", ("tier",), [0, 2, 9]),  # 2: a path of three indices is too deep for it
    ("head", ("first_step",), [-1, 2**53 + 1]),
    ("head", ("p0",), [-0.001, 0.326, 1.001]),  # 0.326: beyond p1
    ("head", ("p1",), [2, -1, 0.299]),
    ("head", ("blobs", 0, 0), ["x" * 41]),
    ("head", ("blobs", 0, 2), [0, 2**32]),
    ("head", ("blobs", 0, 3), [0, 2**32]),
    ("head", ("blobs", 0), [["float32", "ab" * 32, 1], ["float32", "ab" * 32, 1, 1, 1]]),
    ("head", ("blobs",), [[["float32", "ab" * 32, 1, 1]] * 5]),
    ("head", ("members", 0, 0), ["all", "operator", "A", "-a", "a" * 41, "../x", "a/b", "a\n", ""]),
    ("head", ("members", 0, 1), [0, -1, 2**31]),
    ("head", ("members", 0, 2), ["x", "\u0661" * 16]),
    ("head", ("members", 0), [["wrist-05", 1, ""], ["a", 1], ["a", 1, "", 0]]),
    ("head", ("plan", "seed"), ["7", "0" * 17]),
    ("head", ("plan", "rounds"), [0, 2**31]),
    ("head", ("plan", "tau"), [[], [1, 1], [1] * 9, [0, 1, 1], [2**31 - 1] * 3]),
    ("head", ("plan", "schedule"), ["linear"]),
    ("head", ("plan", "schedule"), ["step"]),  # with neither factor nor milestones
    ("head", ("plan", "mu"), [-0.1, 0, 1e6, 1e7, 10**400]),
    ("head", ("plan", "floor"), [-0.1, 1.1]),
    ("head", ("plan", "carry"), ["round", "", None, 1]),
    ("head", ("plan", "lowering"), ["", "Gemm", "1x1", "im2col_gemm", "x" * 21, None, 1, ["gemm"]]),
    ("head", ("plan", "codecs", 0), [["qsgd"], ["qsgd", 7], ["x" * 41, {}], ["q", {"": 1}]]),
    ("head", ("plan", "codecs", 0, 1), [{str(i): 1 for i in range(9)}, {"x" * 41: 1}]),
    ("head", ("plan", "codecs", 0, 1, "levels"), [2**31, -(2**31)]),
    ("head", ("plan", "codecs", 0, 1, "levels"), [1e10, "1", None, [1]]),
    ("head", ("spacing",), [0, -1, 0.1, 1e39, 1e-39, "1", None, True]),
    ("head", ("plan", "quorum"), [["all"], ["all"] * 4]),
    ("head", ("plan", "quorum", 0), ["", "0", "0.0", "1.5", "-1", "some", "1e3", "9" * 10, "٣"]),
    ("head", ("plan", "deadline_s"), [[1], [1] * 4]),
    ("head", ("plan", "deadline_s", 0), [-1, 1e10]),
    ("head", ("plan", "give_up_s"), [-1, 1e10]),
    ("head", ("plan", "beacon_s"), [0, 0.5, 1e7]),
    ("head", ("plan", "range_bits"), [-1, 31]),
    ("want", ("digest",), ["ab", "", " " * 64]),
    ("want", ("parts",), [list(range(17))]),
    ("want", ("parts", 0), [-1, 2**32]),
    ("ack", ("digest",), ["", "ab"]),
    ("ack", ("verdict",), ["yes"]),
    ("ack", ("parts",), [list(range(17))]),
    ("ack", ("reason",), ["x" * 201]),
    ("update manifest", ("format",), [0, 2]),
    ("update manifest", ("node",), ["all", "../../etc/passwd", "a" * 41]),
    ("update manifest", ("weight",), [-1, 2**31]),
    ("update manifest", ("codec",), ["x" * 101]),
    ("update manifest", ("q",), [-1, 1e13]),
    ("update manifest", ("reason",), ["x" * 201]),
    ("model manifest", ("format",), [0, 2]),
    ("model manifest", ("form",), ["float16", ""]),
    ("model manifest", ("dimension",), [0, 5, 7, 2**28 + 1]),
]


@pytest.mark.covers("W-2")
@pytest.mark.parametrize(("name", "place", "values"), RANGES, ids=lambda v: str(v)[:40])
def test_a_field_out_of_range_is_refused(name, place, values):
    decode, document = DOCUMENTS[name]
    for value in values:
        with pytest.raises(WireError):
            decode(json.dumps(changed(document, place, value)).encode())


@pytest.mark.covers("W-3")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_field_of_a_later_version_is_ignored(name):
    decode, document = DOCUMENTS[name]
    later = document | {"something new": [1, {"x": None}]}
    assert str(decode(json.dumps(later).encode())) == str(decode(json.dumps(document).encode()))


HOSTILE = {
    "nothing": b"",
    "not JSON": b"{",
    "not UTF-8": b'{"a":"\xff\xfe"}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "a list": b"[]",
    "a number": b"7",
    "NaN": b'{"p0":NaN}',
    "infinity": b'{"p0":-Infinity}',
    "a key twice": b'{"digest":"","parts":[],"digest":""}',
    "a key twice, below": b'{"plan":{"mu":1,"mu":2}}',
    "a number of 5000 digits": b'{"seq":' + b"9" * 5000 + b"}",
    "deep": b'{"a":' * 20_000,
    "deep lists": b'{"parts":' + b"[" * 100_000,
    "zero bytes": bytes(64),
}


@pytest.mark.covers("W-1")
@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_canonical_object_is_refused(payload):
    for decode in (Presence.decode, Want.decode, Ack.decode, decode_head_or_beacon):
        with pytest.raises(WireError):
            decode(payload)


@pytest.mark.parametrize("depth", range(900, 1001, 4))
def test_nesting_near_the_interpreters_own_limit_is_refused_like_any_other(depth):
    head = json.loads(HEAD.encode())
    head["seq"] = "DEEP"
    text = json.dumps(head).replace('"DEEP"', "[" * depth + "]" * depth)
    with pytest.raises(WireError):
        decode_head_or_beacon(text.encode())


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1e-999999999999"])
def test_a_number_beyond_float64_is_no_number(number):
    text = HEAD.encode().decode().replace('"p0":0.3', f'"p0":{number}')
    if number.endswith("-999999999999"):
        assert decode_head_or_beacon(text.encode()).p0 == 0
    else:
        with pytest.raises(WireError, match="p0"):
            decode_head_or_beacon(text.encode())


def test_an_error_names_message_field_value_and_range():
    document = changed(DOCUMENTS["head"][1], ("plan", "rounds"), 0)
    with pytest.raises(WireError, match=r"head\.plan: field 'rounds' is 0, not an integer from 1"):
        decode_head_or_beacon(json.dumps(document).encode())


@pytest.mark.parametrize("value", ["x" * 10**6, list(range(10**5)), 10**4000])
def test_an_error_is_short_however_large_the_value(value):
    with pytest.raises(WireError) as caught:
        Fields({"seq": value}, what="head").integer("seq", 0, 1)
    assert len(str(caught.value)) < 200


@pytest.mark.covers("H-6")
@pytest.mark.parametrize(
    ("quorum", "members", "needed"),
    [
        ("all", 7, 7), ("3", 7, 3), ("9", 7, 7), ("0.5", 7, 4), ("0.07", 100, 7), ("0.7", 10, 7),
        ("0.29", 100, 29), ("1.0", 7, 7), ("0.00000000000000001", 4096, 1),
    ],
)  # fmt: skip
def test_a_share_is_exact_as_written_and_rounded_up(quorum, members, needed):
    assert members_needed(quorum, members=members) == needed


def test_every_example_is_refused_as_every_other_kind():
    readers = {
        "presence": Presence.decode, "head": decode_head_or_beacon, "beacon": decode_head_or_beacon,
        "want": Want.decode, "ack": Ack.decode,
    }  # fmt: skip
    for name, payload in EXAMPLES.items():
        for kind, decode in readers.items():
            own = name.split(".")[0].split("_")[0] == kind
            if name.endswith(".json") and not own and {name[:4], kind[:4]} != {"head", "beac"}:
                if {name[:3], kind} == {"ack", "want"}:  # an ack has a want's fields, and more
                    continue
                with pytest.raises(WireError):
                    decode(payload)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("factor", [0, -0.5, 1.1, "0.5"]),
        (
            "milestones",
            [0.5, [0.0], [1], [0.5, 0.5], [0.5, 0.25], ["0.5"], [n / 10 for n in range(1, 10)]],
        ),
    ],
)
def test_a_step_schedule_that_cannot_be_is_refused(key, values):
    plan = replace(PLAN, schedule="step", factor=0.5, milestones=(0.25, 0.5))
    document = plan.to_json()
    assert Plan.from_fields(Fields(document, what="plan")) == plan
    for value in values:
        with pytest.raises(WireError, match=key):
            Plan.from_fields(Fields({**document, key: value}, what="plan"))
