"""From deltas to updates, through the spool, to the mean and the next model."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.core.effects import Aggregate, Job
from fedtier.core.figures import Figures, LinkFigures
from fedtier.errors import StorageError, TrainingError
from fedtier.ids import BootNonce, IterationPath, NodeId, RunId
from fedtier.model.exact_sum import fixed_point_exponent
from fedtier.model.layout import ParameterLayout, TensorSpec, model_digest
from fedtier.model.server_step import add
from fedtier.quantize import make_codec
from fedtier.runtime.mean import mean_of, next_model
from fedtier.runtime.updates import delta_update, figures_update
from fedtier.storage.spool import Spool
from fedtier.wire.head import Head, Member
from fedtier.wire.manifest import decode_model, decode_update
from fedtier.wire.plan import CodecSpec, Plan

NODE = NodeId("d0")
IDENTITY = CodecSpec(name="identity")


def head_of(dimension, *, codec=IDENTITY, weights=(1,), range_bits=6, task="train"):
    layout = ParameterLayout(tensors=(TensorSpec(name="w", shape=(dimension,)),))
    return Head(
        nonce=BootNonce(1), seq=1, run=RunId(1), epoch=0, path=IterationPath((4,)), state="open",
        task=task, model="ab" * 32, layout=layout.digest, dimension=dimension, artefact="cd" * 32,
        blobs=(), tier=1, first_step=0, p0=0.0, p1=1.0,
        plan=Plan(
            seed=7, rounds=9, tau=(2,), codecs=(codec,), schedule="constant", mu=0.1, floor=1.0,
            range_bits=range_bits,
        ),
        members=tuple(Member(node=NodeId(f"d{n}"), weight=w) for n, w in enumerate(weights)),
    )  # fmt: skip


def update_of(head, delta, *, node=NODE, weight=1, figures=None):
    delta = np.asarray(delta, np.float32)
    start = np.zeros_like(delta)
    return delta_update(
        node, head, start=start, end=delta, weight=weight, figures=figures or Figures()
    )


def aggregate_of(head, *, came=None):
    came = head.members if came is None else came
    return Aggregate(
        job=Job.of(head), head=head, came=came, above=None, done=1, trained=1, seconds=1.0,
        reasons=(), model=b"", figures=Figures(),
        admitted_weight=sum(member.weight for member in head.members),
    )  # fmt: skip


# Updates


def test_an_update_says_all_it_is_judged_by():
    head = head_of(3)
    figures = Figures(links={1: LinkFigures(bytes_up=5)}, trained_steps=2)
    update = decode_update(update_of(head, [1, 2, -3], weight=6, figures=figures))
    manifest = update.manifest
    assert (manifest.run, manifest.path, manifest.task) == (head.run, head.path, "train")
    assert (manifest.base, manifest.layout) == (head.model, head.layout)
    assert (manifest.node, manifest.weight, manifest.codec) == (NODE, 6, "identity")
    assert Figures.from_json(manifest.figures) == figures
    assert np.frombuffer(update.sections[0], "<f4").tolist() == [1, 2, -3]


@pytest.mark.covers("R-1")
def test_the_same_delta_under_the_same_address_is_the_same_blob_whatever_run_or_boot():
    head = head_of(500, codec=CodecSpec(name="qsgd", parameters=(("levels", 3),)))
    delta = np.random.default_rng(5).normal(size=500)
    sections = decode_update(update_of(head, delta)).sections
    later = replace(head, run=RunId(99), epoch=4, nonce=BootNonce(8), seq=70)
    assert decode_update(update_of(later, delta)).sections == sections
    for other in (
        replace(head, path=IterationPath((5,))),
        replace(head, plan=replace(head.plan, seed=8)),
    ):
        assert decode_update(update_of(other, delta)).sections[1] != sections[1]
    assert decode_update(update_of(head, delta, node=NodeId("d1"))).sections[1] != sections[1]


@pytest.mark.covers("R-3")
@pytest.mark.parametrize(
    "wrong", [np.nan, np.inf, -np.inf, 64.0, -64.0, 3e38, np.nextafter(np.float32(64), np.inf)]
)
def test_a_diverged_delta_is_a_training_error_that_says_so(wrong):
    with pytest.raises(TrainingError, match=r"^diverged: .*2\^6"):
        update_of(head_of(3), [0, wrong, 1])


@pytest.mark.covers("R-3")
@pytest.mark.parametrize(("start", "end"), [(-3e38, 3e38), (np.inf, np.inf), (np.nan, 0)])
def test_a_model_that_left_the_numbers_is_a_training_error_without_a_warning(start, end):
    vectors = [np.array([value, 0], np.float32) for value in (start, end)]
    with pytest.raises(TrainingError, match="diverged"):
        delta_update(
            NODE, head_of(2), start=vectors[0], end=vectors[1], weight=1, figures=Figures()
        )


def test_the_largest_delta_in_range_is_sent():
    largest = np.nextafter(np.float32(64), np.float32(0))
    assert decode_update(update_of(head_of(2), [largest, -largest])).manifest.weight == 1


@pytest.mark.covers("R-3")
def test_a_coordinate_that_the_quantizer_takes_out_of_range_is_a_training_error():
    # norm 80, one step: every coordinate becomes 0 or +-80, and some of the sixteen do
    head = head_of(16, codec=CodecSpec(name="qsgd", parameters=(("levels", 1),)))
    with pytest.raises(TrainingError, match=r"^diverged: a quantized coordinate is beyond 2\^6"):
        update_of(head, np.full(16, 20.0))
    wider = replace(head, plan=replace(head.plan, range_bits=7))
    update = decode_update(update_of(wider, np.full(16, 20.0)))
    decoded = make_codec("qsgd", {"levels": 1}).decode(update.sections, 16)
    assert set(decoded.tolist()) == {0.0, 80.0}


@pytest.mark.parametrize("reason", ["no member came", "a\nb\u2028c", "é" * 300, ""])
def test_an_answer_without_a_delta_carries_a_reason_that_can_travel(reason):
    head = head_of(3, task="evaluate")
    update = decode_update(figures_update(NODE, head, reason=reason, figures=Figures()))
    assert update.manifest.weight == 0
    assert update.sections == ()
    assert bool(update.manifest.reason) == bool(reason)
    assert "\n" not in update.manifest.reason


# The mean


def spooled(spool, head, deltas):
    for member, delta in zip(head.members, deltas, strict=True):
        blob = update_of(head, delta, node=member.node, weight=member.weight)
        spool.put(head.run, head.path, member.node, blob)


coordinates = st.floats(-60, 60, width=32)


@pytest.mark.covers("N-19")
@given(
    children=st.lists(
        st.tuples(st.integers(1, 1000), st.lists(coordinates, min_size=4, max_size=4)),
        min_size=1, max_size=5,
    )
)  # fmt: skip
def test_the_mean_is_that_of_a_plain_float64_reference(tmp_path_factory, children):
    weights = tuple(weight for weight, _ in children)
    deltas = [np.array(values, np.float32) for _, values in children]
    head = head_of(4, weights=weights)
    spool = Spool(tmp_path_factory.getbasetemp() / "mean")
    spooled(spool, head, deltas)
    mean = mean_of(spool, aggregate_of(head))
    reference = sum(w * d.astype(np.float64) for w, d in zip(weights, deltas, strict=True))
    reference /= sum(weights)
    # each coordinate is rounded once to 2^-E, the mean once to float32; and float64 sums of five
    # terms below 2^16 are good to 2^-34, which no float32 above 2^-10 shows
    tolerance = 2.0 ** -(fixed_point_exponent(sum(weights)) + 1)
    ulp = np.spacing(np.abs(reference).astype(np.float32)).astype(np.float64)
    assert (np.abs(mean - reference) <= tolerance + ulp + 2.0**-34).all()


@pytest.mark.covers("R-4")
def test_a_mean_divides_by_the_weight_of_those_who_came(tmp_path):
    head = head_of(2, weights=(1, 2, 5))
    spool = Spool(tmp_path)
    spooled(spool, head, [[3, 3], [6, 0], [50, 50]])
    mean = mean_of(spool, aggregate_of(head, came=head.members[:2]))
    assert mean.tolist() == [5, 1]


def test_a_quantized_update_enters_as_its_receiver_decodes_it(tmp_path):
    codec = CodecSpec(name="qsgd", parameters=(("levels", 7),))
    head = head_of(50, codec=codec, weights=(3,))
    delta = np.random.default_rng(2).normal(size=50).astype(np.float32)
    spool = Spool(tmp_path)
    spooled(spool, head, [delta])
    sections = decode_update(spool.get(head.run, head.path, NODE)).sections
    decoded = make_codec("qsgd", {"levels": 7}).decode(sections, 50)
    mean = mean_of(spool, aggregate_of(head))
    assert np.abs(mean - decoded).max() <= 2.0 ** -(fixed_point_exponent(3) + 1)


def test_the_next_model_is_named_and_packed(tmp_path):
    head = head_of(2)
    spool = Spool(tmp_path)
    spooled(spool, head, [[1, -1]])
    before = np.array([0.5, 0.5], np.float32)
    new = next_model(before, spool, aggregate_of(head), step=add)
    assert new.vector.tolist() == [1.5, -0.5]
    assert before.tolist() == [0.5, 0.5]
    assert new.model == model_digest(head.layout, new.vector)
    parameters, model, layout = decode_model(new.blob)
    assert (parameters.tolist(), model, layout) == ([1.5, -0.5], new.model, head.layout)


@pytest.mark.covers("H-8")
def test_with_nobody_the_next_model_is_the_one_before_to_the_bit(tmp_path):
    head = head_of(2)
    before = np.array([-0.0, 0.1], np.float32)
    new = next_model(before, Spool(tmp_path), aggregate_of(head, came=()), step=add)
    assert new.vector.tobytes() == before.tobytes()
    assert new.model == model_digest(head.layout, before)


@pytest.mark.parametrize("damage", ["gone", "flipped"])
def test_an_accepted_update_that_is_gone_stops_the_node_by_name(tmp_path, damage):
    head = head_of(2, weights=(1, 1))
    spool = Spool(tmp_path)
    spooled(spool, head, [[1, 1], [2, 2]])
    (place,) = tmp_path.rglob("d1")
    if damage == "gone":
        place.unlink()
    else:
        place.write_bytes(place.read_bytes()[:-1] + b"?")
    with pytest.raises(StorageError, match=r"accepted update of d1 for r4 is gone .*start again"):
        mean_of(spool, aggregate_of(head))


def test_memory_of_a_mean_does_not_grow_with_the_number_of_children(tmp_path):
    dimension = 200_000
    deltas = np.random.default_rng(0).normal(size=(12, dimension)).astype(np.float32)

    def peak_bytes(children):
        head = head_of(dimension, weights=(1,) * children)
        spool = Spool(tmp_path / str(children))
        spooled(spool, head, deltas[:children])
        tracemalloc.start()
        try:
            mean_of(spool, aggregate_of(head))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    two, twelve = peak_bytes(2), peak_bytes(12)
    assert twelve < two + 4 * dimension  # not even one float32 vector more
    assert twelve < 8 * 4 * dimension
