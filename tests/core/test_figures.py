"""Figures fold in any order, survive restarts of those who count, and always fit a manifest."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import World
from world_shapes import make_plan, quadratic, random_centres, regular

from fedtier.core.figures import (
    FIGURES_BYTES_MAX,
    Q_UNITS_PER_ONE,
    Figures,
    LinkFigures,
    Scores,
    TierFigures,
    fold,
)
from fedtier.core.intake import IntakeCounts
from fedtier.core.measured import SLOWEST_MAX, GradientFigures, Measured, StepTimes
from fedtier.core.rollout import VERSIONS_MAX, Rollout, Verdicts, Version
from fedtier.core.tally import Tally
from fedtier.errors import WireError
from fedtier.ids import IterationPath, NodeId, RunId
from fedtier.limits import MANIFEST_BYTES_MAX
from fedtier.wire.fields import to_json
from fedtier.wire.manifest import UpdateManifest

counts = st.integers(0, 2**50)
links = st.builds(LinkFigures, **{f.name: counts for f in fields(LinkFigures)})
tiers = st.builds(TierFigures, **{f.name: counts for f in fields(TierFigures)})
scores = st.builds(
    lambda node, examples, correct, loss, outputs: Scores.of_device(
        node, examples=examples, correct=min(outputs * examples, correct), loss_units=loss,
        judged=outputs * examples,
    ),
    st.sampled_from(["a", "b", "c"]), st.integers(0, 99), st.integers(0, 99), counts,
    st.integers(0, 3),
)  # fmt: skip
versions = st.builds(
    Version, st.integers(0, 1), st.integers(0, 4), st.sampled_from(["0" * 12, "ab" * 6])
)
rollouts = st.dictionaries(
    versions, st.builds(Verdicts, accepted=counts, refused=counts), max_size=5
).map(lambda some: Rollout() + Rollout(some))
numbers = st.floats(0, 2.0**40, width=32)  # few bits: sums of some are float64 numbers, too
exact = numbers.map(Fraction)
per_link = st.dictionaries(st.integers(1, 8), exact, max_size=3)
step_times = st.builds(StepTimes.of_device, st.sampled_from(["a", "b", "c"]), seconds=numbers)
gradients = st.builds(
    GradientFigures, devices=counts, kept=counts, weight=counts, loss=exact, variance=numbers,
    moved=exact, changed=exact, spread=per_link,
)  # fmt: skip
measurements = st.builds(
    lambda q, steps, gradients: Measured(
        q=q, deltas={link: 3 * link for link in q}, steps=steps, gradients=gradients
    ),
    per_link, step_times | st.just(StepTimes()), gradients | st.just(GradientFigures()),
)  # fmt: skip
figures = st.builds(
    Figures, links=st.dictionaries(st.integers(1, 8), links, max_size=3),
    tiers=st.dictionaries(st.integers(0, 7), tiers, max_size=3), scores=scores,
    trained_steps=counts, trained_loss_units=counts, rollout=rollouts, measured=measurements,
    spans=st.dictionaries(st.integers(0, 8), counts, max_size=3), equipping=counts,
)  # fmt: skip


@given(st.lists(figures, max_size=4))
def test_no_order_of_folding_changes_the_sum(some):
    sums = [fold(order) for order in itertools.permutations(some)]
    assert all(total == sums[0] for total in sums)


@given(figures)
def test_figures_are_read_as_they_were_written(some):
    written = some.to_json()
    assert Figures.from_json(written) == some


def test_of_two_equally_bad_devices_the_first_by_name_is_the_worst():
    worst = [Scores.of_device(NodeId(n), examples=4, correct=1, loss_units=0) for n in "ba"]
    assert (worst[0] + worst[1]).worst == (1, 4, "a")


def test_accuracy_loss_and_percentiles_are_read_from_sums_and_bins():
    devices = [
        Scores.of_device(NodeId(f"d{i}"), examples=10, correct=i, loss_units=2**20)
        for i in range(10)
    ]
    total = sum(devices, start=Scores())
    assert (total.devices, total.accuracy, total.loss) == (10, 0.45, 0.1)
    assert total.percentile(10) == 0.0
    assert total.percentile(100) == 0.9
    assert (Scores().accuracy, Scores().loss, Scores().percentile(10)) == (None, None, None)
    assert total.percentile(101) is None


def test_a_model_without_right_answers_has_a_loss_and_no_accuracy():
    devices = [
        Scores.of_device(NodeId(n), examples=4, correct=0, loss_units=2**21, judged=0) for n in "ab"
    ]
    total = sum(devices, start=Scores())
    assert (total.examples, total.loss, total.accuracy) == (8, 0.5, None)
    assert (total.worst, total.percentile(10)) == (None, None)


def test_where_every_output_is_judged_accuracy_is_a_share_of_the_outputs():
    device = Scores.of_device(NodeId("a"), examples=4, correct=9, loss_units=0, judged=12)
    assert (device.accuracy, device.worst) == (0.75, (9, 12, "a"))
    assert Figures(scores=device).to_json()["j"] == 12
    classes = Scores.of_device(NodeId("a"), examples=4, correct=3, loss_units=0)
    assert "j" not in Figures(scores=classes).to_json(), "as before there was a choice"


# How far models got


@given(st.lists(rollouts, max_size=4))
def test_a_sum_of_any_parts_has_the_newest_versions_with_all_their_verdicts(some):
    whole = sum(some, start=Rollout())
    everything = {}
    for part in some:
        for version, verdicts in part.versions.items():
            everything[version] = everything.get(version, Verdicts()) + verdicts
    newest = sorted(everything)[-VERSIONS_MAX:]
    assert list(whole.versions) == newest
    assert whole.versions == {version: everything[version] for version in newest}


@pytest.mark.covers("R-10")
def test_a_child_that_reports_a_verdict_again_is_counted_once():
    def verdict(number, *, accepted):
        version = Version(0, number, "ab" * 6)
        return Rollout({version: Verdicts(accepted=accepted, refused=1 - accepted)})

    tally = Tally()
    tally.open(RunId(1))
    old, new = verdict(4, accepted=1), verdict(5, accepted=1)
    for child, rollout in (
        ("a", old), ("a", old + new), ("a", old + new), ("b", old + verdict(5, accepted=0)),
    ):  # fmt: skip
        manifest = replace(report(child), figures=Figures(rollout=rollout).to_json())
        tally.enter(NodeId(child), manifest)
    found = tally.figures(1, IntakeCounts()).rollout
    assert list(found.versions.values()) == [
        Verdicts(accepted=2), Verdicts(accepted=1, refused=1),
    ]  # fmt: skip
    assert Figures(rollout=found).of_iteration == Figures(), "no iteration adds it once more"


def test_what_an_older_state_begins_anew_is_newer():
    """A cloud that went back to round 10 has devices that judged round 40 before."""
    before = Rollout({Version(0, n, "ab" * 6): Verdicts(accepted=1) for n in (38, 39, 40)})
    after = before + Rollout({Version(1, 10, "cd" * 6): Verdicts(refused=1)})
    assert list(after.versions)[-1] == Version(1, 10, "cd" * 6)


# Size


def manifest_of(some: Figures) -> UpdateManifest:
    return UpdateManifest(
        run=RunId(2**64 - 1), path=IterationPath((2**32 - 1,) * 8), node=NodeId("n" * 40),
        task="evaluate", base="f" * 64, layout="f" * 64, weight=2**31 - 1, codec="c" * 100,
        q=1.2345678901234567e-05, reason="", figures=some.to_json(),
    )  # fmt: skip


def test_the_most_an_honest_tree_reports_fits_a_manifest():
    """Eight tiers, all 101 bins, a million devices, a petabyte and a decade on every link."""
    link = LinkFigures(
        updates=10**9, abstained=10**9, duplicates=10**7, late=10**7, lost=10**7,
        bytes_up=10**15, bytes_down=10**15, q_units=2**20 * 10**9, q_count=10**9, micros=10**14,
        deltas=10**9,
    )  # fmt: skip
    tier = TierFigures(
        nodes=10**6, peak_rss_kib_sum=10**12, peak_rss_kib_max=10**7, cpu_ms_sum=10**14,
        cpu_ms_max=10**11,
    )  # fmt: skip
    some = Figures(
        links=dict.fromkeys(range(1, 9), link), tiers=dict.fromkeys(range(8), tier),
        scores=Scores(
            examples=10**11, correct=10**11, loss_units=2**20 * 10**11, judged=10**12,
            histogram=tuple((bin_, 9901) for bin_ in range(101)), worst=(1, 10**5, "n" * 40),
        ),
        trained_steps=10**12, trained_loss_units=2**20 * 10**12,
        rollout=Rollout(
            {
                Version(10, 10**6 - n, "f" * 12): Verdicts(accepted=10**6, refused=10**6)
                for n in reversed(range(VERSIONS_MAX))
            }
        ),
    )  # fmt: skip
    assert some.to_json()
    assert len(to_json(manifest_of(some).to_json())) <= MANIFEST_BYTES_MAX


def test_the_most_that_a_pilot_measures_fits_a_manifest():
    """As many tiers, links and named devices as there can be, and numbers of all digits."""
    link = LinkFigures(
        updates=10**6, abstained=10**4, bytes_up=10**13, bytes_down=10**13, q_units=2**20 * 10**6,
        q_count=10**6, micros=10**12, deltas=10**6,
    )  # fmt: skip
    tier = TierFigures(
        nodes=10**6, peak_rss_kib_sum=10**12, peak_rss_kib_max=10**7, cpu_ms_sum=10**12,
        cpu_ms_max=10**9,
    )  # fmt: skip
    third = Fraction(1, 3)
    verdict = Verdicts(accepted=10**6, refused=10**6)
    common = Figures(
        links=dict.fromkeys(range(1, 9), link), tiers=dict.fromkeys(range(8), tier),
        rollout=Rollout({Version(0, n, "f" * 12): verdict for n in range(VERSIONS_MAX)}),
    )  # fmt: skip
    named = [StepTimes.of_device(NodeId(f"{n:040}"), seconds=0.5) for n in range(30)]
    trained = common + Figures(
        trained_steps=10**9, trained_loss_units=2**20 * 10**9,
        spans=dict.fromkeys(range(9), 10**12), equipping=10**12,
        measured=Measured(
            q=dict.fromkeys(range(1, 9), third), deltas=dict.fromkeys(range(1, 9), 10**6),
            steps=sum(named, start=StepTimes()),
        ),
    )  # fmt: skip
    answered = common + Figures(
        measured=Measured(gradients=GradientFigures(
            devices=10**6, kept=10**6, weight=10**9, loss=third, variance=1 / 3, moved=third,
            changed=third, spread=dict.fromkeys(range(1, 9), third),
        )),
    )  # fmt: skip
    assert len(trained.measured.steps.slowest) == SLOWEST_MAX
    for some in (trained, answered):
        assert some.to_json()
        assert len(to_json(manifest_of(some).to_json())) <= MANIFEST_BYTES_MAX


def test_figures_that_do_not_fit_are_left_out_and_the_update_stays():
    link = LinkFigures(**{f.name: 2**62 for f in fields(LinkFigures)})
    tier = TierFigures(**{f.name: 2**62 for f in fields(TierFigures)})
    some = Figures(links=dict.fromkeys(range(1, 9), link), tiers=dict.fromkeys(range(8), tier))
    some += Figures(
        scores=Scores(
            examples=1, correct=1, judged=1, histogram=tuple((b, 2**62) for b in range(101)),
            worst=(1, 1, "a"),
        )
    )  # fmt: skip
    assert some.to_json() == {}
    assert Figures.from_json({}) == Figures()
    assert FIGURES_BYTES_MAX + len(to_json(manifest_of(some).to_json())) <= MANIFEST_BYTES_MAX


def test_sums_of_measurements_stop_at_what_a_parent_takes():
    far = GradientFigures(moved=Fraction(2.0**1000), loss=-Fraction(2.0**1000))
    total = Figures(measured=Measured(gradients=far + far))
    assert Figures.from_json(total.to_json()).measured.gradients.moved == Fraction(1e30)


def test_sums_stop_at_what_a_parent_takes():
    most = LinkFigures(bytes_up=2**62)
    total = Figures(links={1: most + most}, trained_loss_units=-(2**62)) + Figures(
        trained_loss_units=-5, trained_steps=1
    )
    assert Figures.from_json(total.to_json()) == total


def test_the_longest_of_a_cell_counts_and_its_iterations_add_up():
    """Two iterations of a cell: of each the slower child, whichever that is."""
    rounds = [
        ({0: 5, 1: 9}, {0: 7, 1: 8}),
        ({0: 2, 1: 4}, {0: 1, 1: 3}),
    ]
    total = Figures()
    for children in rounds:
        total = total.then(fold(Figures(spans=spans, trained_steps=1) for spans in children))
    assert total.spans == {0: 7 + 2, 1: 9 + 4}
    assert total.trained_steps == 4, "all else is a sum anyway"


@given(figures, figures, figures)
def test_what_comes_later_may_be_added_in_any_grouping(a, b, c):
    assert a.then(b).then(c) == a.then(b.then(c))


def test_a_span_is_no_negative_number():
    """Work may have waited longer for an artefact, by a child's word, than its cell was open."""
    assert Figures().with_span(1, -5.0).spans == {1: 0}


# What children make up

GOOD = Figures(
    spans={0: 5, 1: 7}, equipping=3,
    links={1: LinkFigures(updates=1)}, tiers={0: TierFigures(nodes=1)},
    scores=Scores.of_device(NodeId("a"), examples=4, correct=1, loss_units=5), trained_steps=3,
    rollout=Rollout({Version(0, 1, "0" * 12): Verdicts(accepted=1)}),
).to_json()  # fmt: skip


@pytest.mark.parametrize("key", ["l", "t", "s", "e", "h", "w", "v", "i"])
@pytest.mark.parametrize(
    "value",
    [
        None, 5, "x", {}, [5], ["x"], [[]], [[1]], [[1.5] * 11], [[True] * 11], [[-1] * 11],
        [["1"] * 11], [[2**63] * 11], [[99, *[0] * 10]], [[9, 0, 0, 0, 0, 0]], [[1] * 10],
        [[1, 1]] * 200, [1, 2, 3, 4.0], [1.5, 2], [None, None, None], [5, 4, "a"], [0, 0, "a"],
        [1, 4, "A!"], [1, 2, 3, 4, 5, 6, -7],
    ],
    ids=str,
)  # fmt: skip
def test_odd_figures_are_refused(key, value):
    odd = GOOD | {key: value}
    with pytest.raises(WireError):
        Figures.from_json(odd)


@pytest.mark.parametrize(
    "odd",
    [
        {"l": None}, {"h": [101, 1]}, {"h": [7]}, {"e": [1, 2]}, {"v": [0, 1, "0" * 11, 1, 0]},
        {"v": [0, 1, "G" * 12, 1, 0]}, {"v": [0, 1, "0" * 12, 1]}, {"v": [0, 1, "0" * 12, -1, 0]},
        {"v": [0, 2**32, "0" * 12, 1, 0]}, {"v": [0, 1, "0" * 12, 1, 0] * 2},
        {"v": [0, 2, "0" * 12, 1, 0, 0, 1, "0" * 12, 1, 0]},
        {"v": [0, 1, "0" * 12, 1, 0, 0, 2, "0" * 12, 1, 0] * 2},
        {"i": [[9, 1]]}, {"i": [[1, -1]]}, {"i": [[1, 1.0]]}, {"i": [[1, 2**63]]},
        {"i": [[1] * 2] * 10}, {"m": {"q": [[1, -0.5, 1]]}},
        {"m": {"q": [[0, 0.5, 1]]}}, {"m": {"q": [[1, 0.5, "1"]]}}, {"m": {"q": [[1, 0.5]]}},
        {"m": 5}, {"m": []}, {"m": {"t": [1, 2]}}, {"m": {"t": [1, -2, []]}},
        {"m": {"t": [1, 2, [["A!", 2]]]}},
        {"m": {"t": [1, 2, [["a", 2, 3]]]}}, {"m": {"t": [1, 2, [["a", 2]] * 17]}},
        {"m": {"g": [1] * 7}}, {"m": {"g": [1, 1, 1, "1", 1, 1, 1, []]}},
        {"m": {"g": [1, 1, 1, 1, 1e31, 1, 1, []]}}, {"m": {"g": [1, 1, 1, 1, 1, 1, 1, [[9, 1]]]}},
        {"m": {"g": [1, 1, 1, 1, 1, 1, 1, [[1]]]}}, {"m": {"g": [1, 1.5, 1, 1, 1, 1, 1, []]}},
    ],
    ids=str,
)  # fmt: skip
def test_figures_that_almost_fit_are_refused(odd):
    with pytest.raises(WireError):
        Figures.from_json(GOOD | odd)


# Restarts


def report(child: str, **counted: int) -> UpdateManifest:
    some = Figures(links={1: LinkFigures(**counted)}, tiers={0: TierFigures(nodes=1, cpu_ms_sum=5)})
    return replace(manifest_of(some), node=NodeId(child), task="train", weight=1, q=0.5)


def test_what_a_child_counted_before_its_restart_stays_counted():
    tally = Tally()
    tally.open(RunId(1))
    for sent in (100, 250, 40, 90):  # it was restarted after the second report
        tally.enter(NodeId("a"), report("a", bytes_up=sent))
    tally.enter(NodeId("b"), report("b", bytes_up=7))
    total = tally.figures(1, IntakeCounts(duplicates=3, late=2))
    assert total.links[1].bytes_up == 250 + 90 + 7
    assert (total.links[1].updates, total.links[1].deltas) == (5, 5)
    assert (total.links[1].duplicates, total.links[1].late) == (3, 2)
    assert total.tiers[0].nodes == 2


def test_an_answer_without_figures_leaves_what_its_sender_had_reported():
    tally = Tally()
    tally.open(RunId(1))
    tally.enter(NodeId("a"), report("a", bytes_up=100))
    tally.enter(NodeId("a"), replace(report("a"), figures={}))
    assert tally.figures(1, IntakeCounts()).tiers[0].nodes == 1
    tally.enter(NodeId("a"), report("a", bytes_up=130))
    assert tally.figures(1, IntakeCounts()).links[1].bytes_up == 130


@pytest.mark.parametrize(
    ("task", "weight", "counted"),
    [("train", 1, (1, 0)), ("train", 0, (0, 1)), ("evaluate", 0, (0, 0)), ("gradient", 1, (0, 0))],
)
def test_an_update_is_a_delta_an_abstention_or_neither(task, weight, counted):
    tally = Tally()
    tally.open(RunId(1))
    tally.enter(NodeId("a"), replace(report("a"), task=task, weight=weight))
    link = tally.figures(1, IntakeCounts()).links[1]
    assert (link.updates, link.deltas, link.abstained) == (1, *counted)


@pytest.mark.parametrize("codec", ["qsgd", "identity"])
def test_the_mean_error_is_of_the_deltas_that_were_quantized(codec):
    """A parent may have been started again after the pilot's unquantized ones, or before."""
    tally = Tally()
    tally.open(RunId(1))
    tally.enter(NodeId("a"), replace(report("a"), codec="identity", q=0.0))
    tally.enter(NodeId("a"), replace(report("a"), codec=codec, q=0.5))
    link = tally.figures(1, IntakeCounts()).links[1]
    assert link.deltas == 2
    assert (link.q_units, link.q_count) == (
        (Q_UNITS_PER_ONE // 2, 1) if codec == "qsgd" else (0, 0)
    )


def test_another_run_is_counted_from_zero():
    tally = Tally()
    tally.open(RunId(1))
    tally.enter(NodeId("a"), report("a", bytes_up=100))
    tally.lose(2)
    tally.open(RunId(1))
    assert tally.figures(1, IntakeCounts()).links[1].lost == 2
    tally.open(RunId(2))
    assert tally.figures(1, IntakeCounts()) == Figures(links={1: LinkFigures()})


def test_the_cloud_hears_what_every_device_scored_and_every_link_carried(tmp_path):
    shape = regular(2, 2, 2)
    centres = random_centres(shape, seed=1, dimension=5)
    plan = make_plan((1, 2, 3), rounds=2)
    world = World(shape, plan, quadratic(centres), disk=tmp_path, start=np.zeros(5))
    world.run()
    total = world.cloud.finished.figures
    assert (total.scores.devices, total.scores.examples, total.scores.accuracy) == (8, 80, 0.7)
    # trainings and one evaluation, on each link: 8 devices, 4 and 2 gateways
    updates = {link: figures.updates for link, figures in total.links.items()}
    assert updates == {1: 8 * (2 * 6 + 1), 2: 4 * (2 * 3 + 1), 3: 2 * (2 + 1)}
    assert all(figures.lost == 0 for figures in total.links.values())


@pytest.mark.parametrize("value", [-1, 1.5, "1", 2**63, [1], None])
def test_an_odd_wait_is_refused(value):
    with pytest.raises(WireError):
        Figures.from_json(GOOD | {"a": value})
