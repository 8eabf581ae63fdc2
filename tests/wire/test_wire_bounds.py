"""The largest message of every kind is no larger than what is promised for it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fedtier.core.figures import FIGURES_BYTES_MAX, Figures, LinkFigures, Scores, TierFigures
from fedtier.errors import WireError
from fedtier.ids import BootNonce, IterationPath, NodeId, RunId
from fedtier.limits import (
    BUCKET_MAX,
    CONTROL_BYTES_MAX,
    DIMENSION_MAX,
    HEAD_BYTES_BASE,
    HEAD_BYTES_PER_MEMBER,
    LEVELS_MAX,
    MANIFEST_BYTES_MAX,
    MILESTONES_MAX,
    PART_BYTES_MIN,
    REASON_CHARACTERS_MAX,
    STEPS_PER_ROUND_MAX,
    TIERS_MAX,
    WEIGHT_MAX,
    WINDOW_PARTS,
)
from fedtier.wire.blob import decode_blob, encode_blob
from fedtier.wire.fields import to_json
from fedtier.wire.head import Beacon, BlobRef, Head, Member, decode_head_or_beacon
from fedtier.wire.manifest import UpdateManifest, clip_reason, encode_update, peek_update
from fedtier.wire.messages import Ack, Presence, Want
from fedtier.wire.parts import HEADER_BYTES_MAX, slice_bytes
from fedtier.wire.plan import CodecSpec, Plan

FULL64 = 2**64 - 1
DIGEST = "f" * 64
LONG_FLOAT = 0.12345678901234566  # as many digits as a float64 needs
PATH = IterationPath((2**32 - 1,) * TIERS_MAX)
LARGEST_PLAN = Plan(
    seed=FULL64, rounds=2**31 - 1, tau=(98,) * TIERS_MAX, schedule="step",
    factor=LONG_FLOAT, milestones=tuple(LONG_FLOAT + n / 10 for n in range(MILESTONES_MAX)),
    codecs=(
        CodecSpec(name="qsgd", parameters=(("bucket", BUCKET_MAX), ("levels", LEVELS_MAX))),
    ) * TIERS_MAX,
    mu=LONG_FLOAT, floor=LONG_FLOAT, quorum=(f"{LONG_FLOAT}",) * TIERS_MAX,
    deadline_s=(123456789.12345679,) * TIERS_MAX, give_up_s=123456789.12345679,
    beacon_s=123456.12345678912, range_bits=30, carry="iteration",
    lowering="l" * 20,
)  # fmt: skip


def largest_head(members):
    return Head(
        nonce=BootNonce(FULL64), seq=2**32 - 1, run=RunId(FULL64), epoch=2**32 - 1,
        path=IterationPath((2**32 - 1,) * TIERS_MAX), state="finished", task="evaluate",
        model=DIGEST, layout=DIGEST, dimension=DIMENSION_MAX, artefact=DIGEST, tier=1,
        first_step=STEPS_PER_ROUND_MAX, p0=LONG_FLOAT, p1=LONG_FLOAT,
        blobs=(BlobRef(form="float32", digest=DIGEST, total=2**30 + 4096, parts=2**20),),
        artefact_blob=BlobRef(form="zlib", digest=DIGEST, total=64 * 2**20, parts=2**14),
        plan=LARGEST_PLAN,
        members=tuple(
            Member(node=NodeId(f"{index:040d}"), weight=WEIGHT_MAX, beneath="f" * 16)
            for index in range(members)
        ),
    )  # fmt: skip


@pytest.mark.covers("W-4")
@pytest.mark.parametrize("members", [0, 1, 20, 500, 4096])
def test_a_head_of_eight_tiers_with_the_longest_ids_keeps_to_its_bound(members):
    payload = largest_head(members).encode()
    assert len(payload) <= HEAD_BYTES_BASE + HEAD_BYTES_PER_MEMBER * members
    assert len(decode_head_or_beacon(payload).members) == members


def test_a_head_with_a_member_too_many_is_refused():
    with pytest.raises(WireError, match="at most 4096 items"):
        decode_head_or_beacon(largest_head(4097).encode())


@pytest.mark.covers("W-4")
def test_a_head_beyond_its_bound_is_refused_unread():
    padded = json.loads(largest_head(4096).encode()) | {"later": "x" * 100_000}
    with pytest.raises(WireError, match="at most 329728 are allowed"):
        decode_head_or_beacon(to_json(padded))


@pytest.mark.covers("W-4")
def test_every_other_control_message_keeps_to_its_bound():
    numbers = (2**32 - 1,) * WINDOW_PARTS
    largest = [
        Presence(
            status="leaving", nonce=BootNonce(FULL64), weight=WEIGHT_MAX, beneath="f" * 16,
            devices=2**31 - 1, version="\U0001f600" * 40,
        ),
        Beacon(
            nonce=BootNonce(FULL64), seq=2**32 - 1, run=RunId(FULL64), epoch=2**32 - 1, path=PATH,
            state="draining",
        ),
        Want(digest=DIGEST, parts=numbers),
        Ack(digest=DIGEST, verdict="rejected", parts=numbers, reason="\U0001f600" * 200),
    ]  # fmt: skip
    for message in largest:
        assert len(message.encode()) <= CONTROL_BYTES_MAX


def test_a_control_message_beyond_its_bound_is_refused_unread():
    with pytest.raises(WireError, match="at most 4096 are allowed"):
        Presence.decode(b'{"a":"' + b"x" * 4096 + b'"}')


def test_the_largest_packet_of_a_gateway_is_one_part_however_small():
    """A head of a small cell, and the longest first part, fit the smallest part size."""
    assert len(largest_head(20).encode()) <= PART_BYTES_MIN
    assert slice_bytes(PART_BYTES_MIN) + HEADER_BYTES_MAX == PART_BYTES_MIN


def large_figures():
    """A month of a thousand devices on eight tiers, with a score in every hundredth."""
    link = LinkFigures(
        updates=10**7, abstained=10**7, duplicates=10**4, late=10**4, lost=10**4,
        bytes_up=10**12, bytes_down=10**13, q_units=10**12, q_count=10**7, micros=10**13,
        deltas=10**7,
    )  # fmt: skip
    tier = TierFigures(
        nodes=4096, peak_rss_kib_sum=10**9, peak_rss_kib_max=10**7, cpu_ms_sum=10**12,
        cpu_ms_max=10**9,
    )  # fmt: skip
    return Figures(
        links=dict.fromkeys(range(1, TIERS_MAX + 1), link),
        tiers=dict.fromkeys(range(TIERS_MAX), tier),
        scores=Scores(
            examples=10**7, correct=10**7, loss_units=10**13,
            histogram=tuple((hundredths, 40) for hundredths in range(101)),
            worst=(10**5, 10**6, "w" * 40),
        ),
        trained_steps=10**9, trained_loss_units=10**15,
    )  # fmt: skip


def manifest_with(figures, *, task="evaluate"):
    return UpdateManifest(
        run=RunId(FULL64), path=PATH, node=NodeId("n" * 40), task=task, base=DIGEST, layout=DIGEST,
        weight=WEIGHT_MAX, codec=f"qsgd(levels={LEVELS_MAX},bucket={BUCKET_MAX})", q=LONG_FLOAT,
        figures=figures,
    )  # fmt: skip


@pytest.mark.covers("W-6")
@pytest.mark.covers("R-8")
@pytest.mark.parametrize("task", ["train", "evaluate"])
def test_the_manifest_of_a_large_tree_fits_with_its_figures(task):
    manifest = manifest_with(large_figures().to_json(), task=task)
    blob = encode_update(manifest, (b"norms", b"codes"))
    assert peek_update(blob[: slice_bytes(PART_BYTES_MIN)]) == manifest
    assert Figures.from_json(manifest.figures) == large_figures()


@pytest.mark.covers("W-6")
@pytest.mark.covers("R-8")
def test_figures_leave_room_for_the_longest_manifest_or_are_left_out():
    padding = FIGURES_BYTES_MAX - len(to_json({"x": ""}))
    manifest = manifest_with({"x": "y" * padding})
    assert peek_update(encode_update(manifest, (b"norms", b"codes"))) == manifest
    link = LinkFigures(**dict.fromkeys(("updates", "bytes_up", "bytes_down", "micros"), 2**62))
    scores = large_figures().scores
    too_large = Figures(links=dict.fromkeys(range(9), link), scores=scores)
    too_large = too_large + Figures(tiers=dict.fromkeys(range(9), TierFigures(nodes=2**62)))
    document = too_large.to_json()
    assert len(to_json(document)) <= FIGURES_BYTES_MAX
    assert Figures.from_json(document) in (too_large, Figures())


@pytest.mark.covers("W-6")
def test_the_longest_reason_fits_a_manifest():
    manifest = UpdateManifest(
        run=RunId(FULL64), path=PATH, node=NodeId("n" * 40), task="evaluate", base=DIGEST,
        layout=DIGEST, weight=0, reason=clip_reason('\\"' * REASON_CHARACTERS_MAX),
    )  # fmt: skip
    assert peek_update(encode_update(manifest, ())) == manifest
    padding = FIGURES_BYTES_MAX - len(to_json({"x": ""}))
    manifest = replace(manifest, figures={"x": "y" * padding})
    assert peek_update(encode_update(manifest, ())) == manifest


def test_a_manifest_beyond_its_bound_is_refused_by_writer_and_reader():
    with pytest.raises(WireError, match=f"at most {MANIFEST_BYTES_MAX}"):
        encode_blob("update", {"x": "y" * MANIFEST_BYTES_MAX}, [])
    with pytest.raises(WireError, match="header and manifest take"):
        encode_blob("update", {"x": "y" * (MANIFEST_BYTES_MAX - 100)}, [b""] * 64)


class FourGigabytes(bytes):
    """Of which only the length is ever looked at."""

    def __len__(self):
        return 2**32 - 1


def test_a_blob_beyond_its_bound_is_refused_by_its_writer():
    with pytest.raises(WireError, match="a blob of 4294967359 bytes is too large"):
        encode_blob("update", {}, [FourGigabytes()])


def test_a_manifest_length_beyond_its_bound_is_refused_before_anything_else():
    data = bytearray(encode_blob("update", {}, []))
    data[8:12] = (MANIFEST_BYTES_MAX + 1).to_bytes(4, "little")
    with pytest.raises(WireError, match="a manifest of 3585 bytes"):
        decode_blob(bytes(data), kind="update")


def test_header_and_manifest_fit_the_smallest_first_part_whatever_they_hold():
    text = {"x": "y" * 2900}
    for sections in range(65):
        blob = encode_blob("update", text, [b"z"] * sections)
        decode_blob(blob, kind="update")
        assert 20 + 16 * sections + len(to_json(text)) <= slice_bytes(PART_BYTES_MIN)
