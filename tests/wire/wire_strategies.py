"""Every message that may travel, for hypothesis."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from fedtier.ids import IterationPath
from fedtier.limits import (
    BLOB_BYTES_MAX,
    DIMENSION_MAX,
    RESERVED_IDS,
    STEPS_PER_ROUND_MAX,
    WEIGHT_MAX,
    WINDOW_PARTS,
)
from fedtier.wire.head import HEAD_STATES, TASKS, Beacon, BlobRef, Head, Member
from fedtier.wire.manifest import UpdateManifest
from fedtier.wire.messages import STATUSES, VERDICTS, Ack, Presence, Want
from fedtier.wire.parts import Part
from fedtier.wire.plan import CodecSpec, Plan

bits32 = st.integers(0, 2**32 - 1)
bits64 = st.integers(0, 2**64 - 1)
counts = st.integers(0, 2**31 - 1)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
short_digests = st.one_of(st.just(""), st.binary(min_size=8, max_size=8).map(bytes.hex))
ids = st.from_regex(r"[a-z0-9][a-z0-9-]{0,39}", fullmatch=True).filter(
    lambda text: text not in RESERVED_IDS
)
printable = st.characters(
    categories=("Lu", "Ll", "Nd", "P", "S", "Zs"), exclude_characters="\u00a0"
).filter(str.isprintable)


def texts(characters_max):
    return st.text(printable, max_size=characters_max)


def numbers(low, high):
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


step_sizes = st.floats(0, 1e6, exclude_min=True, exclude_max=True)


def paths(length_max=8):
    return st.lists(bits32, min_size=1, max_size=length_max).map(
        lambda indices: IterationPath(tuple(indices))
    )


presences = st.builds(
    Presence, status=st.sampled_from(STATUSES), nonce=bits64, ready=st.booleans(), weight=counts,
    beneath=short_digests, devices=counts, version=texts(40),
)  # fmt: skip
beacons = st.builds(
    Beacon, nonce=bits64, seq=bits32, run=bits64, epoch=bits32, path=paths(),
    state=st.sampled_from(HEAD_STATES),
)  # fmt: skip
part_numbers = st.lists(st.integers(0, BLOB_BYTES_MAX), max_size=WINDOW_PARTS).map(tuple)
wants = st.builds(Want, digest=digests, parts=part_numbers)
acks = st.builds(
    Ack, digest=digests, verdict=st.sampled_from(VERDICTS), parts=part_numbers, reason=texts(200)
)
codecs = st.builds(
    CodecSpec, name=texts(40),
    parameters=st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True),
        st.integers(-(2**31) + 1, 2**31 - 1), max_size=8,
    ).map(lambda values: tuple(sorted(values.items()))),
)  # fmt: skip
quorums = st.one_of(
    st.just("all"),
    st.integers(1, 10**9 - 1).map(str),
    st.integers(1, 999).map(lambda n: f"0.{n:03d}"),
    st.just("1.0"),
)


@st.composite
def plans(draw, tiers=None):
    tiers = tiers or draw(st.integers(1, 8))
    tau = tuple(draw(st.lists(st.integers(1, 64), min_size=tiers, max_size=tiers)))
    assert math.prod(tau) <= STEPS_PER_ROUND_MAX
    schedule = draw(st.sampled_from(("constant", "cosine", "step")))
    inside = numbers(0, 1).filter(lambda number: 0 < number < 1)
    steps = {
        "factor": draw(inside),
        "milestones": tuple(sorted(draw(st.lists(inside, max_size=8, unique=True)))),
    }
    per_link = {"min_size": tiers, "max_size": tiers}
    return Plan(
        seed=draw(bits64), rounds=draw(st.integers(1, 2**31 - 1)), tau=tau,
        codecs=tuple(draw(st.lists(codecs, **per_link))),
        schedule=schedule, **(steps if schedule == "step" else {}),
        mu=draw(step_sizes), floor=draw(numbers(0, 1)),
        quorum=draw(st.one_of(st.just(()), st.lists(quorums, **per_link).map(tuple))),
        deadline_s=draw(
            st.one_of(
                st.just(()), st.lists(st.none() | numbers(0, 1e9), **per_link).map(tuple)
            )
        ),
        give_up_s=draw(numbers(0, 1e9)), beacon_s=draw(numbers(1, 1e6)),
        range_bits=draw(st.integers(0, 30)), carry=draw(st.sampled_from(("none", "iteration"))),
        lowering=draw(st.sampled_from(("", "auto", "gemm", "l" * 20))),
    )  # fmt: skip


blob_refs = st.builds(
    BlobRef, form=texts(40), digest=digests,
    total=st.integers(1, BLOB_BYTES_MAX), parts=st.integers(1, BLOB_BYTES_MAX),
)  # fmt: skip


@st.composite
def heads(draw):
    tiers = draw(st.integers(1, 8))
    tier = draw(st.integers(1, tiers))
    members = draw(st.lists(ids, max_size=5, unique=True))
    p0, p1 = sorted((draw(numbers(0, 1)), draw(numbers(0, 1))))
    return Head(
        nonce=draw(bits64), seq=draw(bits32), run=draw(bits64), epoch=draw(bits32),
        path=draw(paths(tiers - tier + 1)), state=draw(st.sampled_from(HEAD_STATES)),
        task=draw(st.sampled_from(TASKS)), model=draw(digests), layout=draw(digests),
        dimension=draw(st.integers(1, DIMENSION_MAX)), artefact=draw(digests), tier=tier,
        first_step=draw(st.integers(0, STEPS_PER_ROUND_MAX)), p0=p0,
        p1=p1, plan=draw(plans(tiers)),
        blobs=tuple(draw(st.lists(blob_refs, max_size=4))),
        artefact_blob=draw(st.none() | blob_refs),
        members=tuple(
            Member(node=node, weight=draw(st.integers(1, WEIGHT_MAX)), beneath=draw(short_digests))
            for node in members
        ),
    )  # fmt: skip


@st.composite
def parts(draw):
    payload = draw(st.binary(min_size=1, max_size=64))
    offset = draw(st.integers(0, BLOB_BYTES_MAX - len(payload)))
    count = draw(st.integers(1, BLOB_BYTES_MAX))
    return Part(
        kind=draw(st.sampled_from(("update", "model"))), run=draw(bits64), epoch=draw(bits32),
        path=draw(paths()), nonce=draw(bits64), seq=draw(bits32), digest=draw(digests),
        part=draw(st.integers(0, count - 1)), parts=count, offset=offset,
        total=draw(st.integers(offset + len(payload), BLOB_BYTES_MAX)), payload=payload,
    )  # fmt: skip


manifests = st.builds(
    UpdateManifest, run=bits64, path=paths(), node=ids, task=st.sampled_from(TASKS), base=digests,
    layout=digests, weight=st.integers(1, WEIGHT_MAX), codec=texts(100), q=numbers(0, 1e12),
    reason=texts(60), figures=st.just({}),
)  # fmt: skip
messages = st.one_of(presences, heads(), beacons, wants, acks, parts())
