"""What a cloud writes down of a pilot, and what it makes of a pilot that was not whole."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from cloud.estimate import estimates_by_times, estimates_of, rate_and_latency
from cloud.pilot import Findings, PilotLog
from fedtier.core.counts import FIGURE_MAX
from fedtier.core.effects import Aggregate, Job
from fedtier.core.figures import Figures
from fedtier.core.measured import GradientFigures, Measured, StepTimes
from fedtier.errors import ConfigError
from fedtier.ids import BootNonce, IterationPath, NodeId, RunId
from fedtier.runtime.mean import MeanGradient
from fedtier.topology import Node, Topology
from fedtier.wire.head import Head
from fedtier.wire.plan import IDENTITY, CodecSpec, Plan

QSGD = CodecSpec(name="qsgd", parameters=(("levels", 7),))
PLAN = Plan(
    seed=7, rounds=9, tau=(4, 2), codecs=(QSGD, IDENTITY), schedule="constant", mu=0.1,
    floor=1.0, pilot=3,
)  # fmt: skip
TREE = Topology(
    (
        Node(id=NodeId("cloud"), tier=2, parent=None),
        Node(id=NodeId("g"), tier=1, parent=NodeId("cloud")),
        *(Node(id=NodeId(name), tier=0, parent=NodeId("g")) for name in "abc"),
    )
)


def aggregate(round_, task, measured, spans=None, *, seconds=0.0):
    head = Head(
        nonce=BootNonce(1), seq=1, run=RunId(5), epoch=0, path=IterationPath((round_,)),
        state="open", task=task, model="ab" * 32, layout="cd" * 32, dimension=3,
        artefact="ef" * 32, blobs=(), tier=2, first_step=0, p0=0, p1=0, plan=PLAN,
    )  # fmt: skip
    return Aggregate(
        job=Job.of(head), head=head, came=(), admitted_weight=1, above=None, done=round_,
        trained=round_, seconds=seconds, reasons=(), model=b"",
        figures=Figures(measured=measured, spans=spans or {}),
    )  # fmt: skip


def gradients(*, kept=2, loss=3.0):
    return Measured(
        gradients=GradientFigures(
            devices=2, kept=kept, weight=4, loss=4 * Fraction(loss), variance=0.5,
            moved=Fraction(4), changed=Fraction(16), spread={1: Fraction(8)},
        )
    )  # fmt: skip


def trained(*, slow=0.5, quick=0.25, q=0.25):
    steps = StepTimes.of_device(NodeId("a"), seconds=slow)
    steps += StepTimes.of_device(NodeId("b"), seconds=quick)
    return Measured(q={1: Fraction(2 * q), 2: Fraction(0)}, deltas={1: 2, 2: 1}, steps=steps)


def mean(*, size=1.0, far=2):
    vector = np.array([size, 0, 0], np.float32)
    return MeanGradient(
        gradient=vector, change=np.array([0, 0.5, 0], np.float32),
        spread=GradientFigures(spread={2: Fraction(far)}),
    )  # fmt: skip


SPANS = {0: 2_000_000, 1: 2_500_000, 2: 6_000_000}


def whole(directory):
    log = PilotLog(directory, RunId(5))
    log.add_round(aggregate(0, "train", trained(), SPANS, seconds=9.0))
    x = np.zeros(3, np.float32)
    first = aggregate(1, "gradient", gradients(kept=0))
    log.add_gradient(first, mean(), model=x, parameters=2)
    log.add_round(aggregate(1, "train", trained(q=0.0), SPANS, seconds=9.0))
    x = np.array([0.5, 0, 99], np.float32)  # the third is no parameter
    found = mean(size=0.25, far=6)
    last = aggregate(2, "gradient", gradients(loss=2.0))
    log.add_gradient(last, found, model=x, parameters=2)
    log.add_round(aggregate(2, "train", trained(slow=0.125), SPANS, seconds=9.0))
    log.add_gradient(
        aggregate(3, "gradient", gradients(loss=1.0, kept=0)), mean(size=0.25),
        model=x + np.float32(1), parameters=2,
    )  # fmt: skip
    log.save()
    return log


def estimates(log, **changes):
    return estimates_of(
        changes.get("findings", log.findings), PLAN, TREE, dimension=changes.get("dimension", 3),
        part_bytes=2**16, least=changes.get("least", 0.0),
    )  # fmt: skip


def test_each_number_is_read_from_where_it_was_measured(tmp_path):
    found = estimates(whole(tmp_path))
    assert found.gap == 3.0
    assert found.sigma2 == 0.5
    assert found.zeta2 == (2.0, 1.5), "8 and the largest of 2, 6 and 2, over the weight 4"
    assert found.L == 1.5, "0.75 over 0.5: the third coordinate is no parameter's"
    assert (found.Lv, found.Lh) == (2.0, 0.5), "sqrt(16 / 4) and 0.5, over sqrt(4 / 4)"
    assert found.step_s == {"a": 0.25, "b": 0.5, "c": 0.5}, (
        "the faster round of each, and the cell waited .5 s a step; c was away, and may be slow"
    )
    assert [link.q for link in found.link] == [0.25, 0.0], (
        "of rounds 0 and 2: nothing is quantized in 1"
    )
    assert [link.latency_s for link in found.link] == [0.5, 3.5]
    assert [link.rate_bytes_per_s for link in found.link] == [None, None]
    assert [(r.loss_before, r.loss_after) for r in found.progress] == [(3.0, 2.0), (2.0, 1.0)]


def test_where_devices_are_late_in_turn_steps_take_what_cells_waited(tmp_path):
    """Each device does a step in .25 s at best, and every iteration waits .5 s for one of them."""
    log = PilotLog(tmp_path, RunId(5))
    x = np.zeros(3, np.float32)
    for number, (a, b) in enumerate([(9.0, 9.0), (0.5, 0.25), (0.25, 0.5)]):
        log.add_gradient(
            aggregate(number, "gradient", gradients(loss=4.0 - number)), mean(size=1 + number),
            model=x + np.float32(number), parameters=2,
        )  # fmt: skip
        trained_s = 4 * max(a, b)
        spans = {0: round(1e6 * trained_s), 1: round(1e6 * (trained_s + 0.5))}
        found = trained(slow=a, quick=b)
        log.add_round(aggregate(number, "train", found, spans, seconds=trained_s + 1))
    assert set(estimates(log).step_s.values()) == {0.5}, "the first round tells nothing of that"


def test_of_a_round_that_an_earlier_boot_had_opened_no_time_is_taken(tmp_path):
    """Its members had answered before this boot looked at its clock."""
    log = whole(tmp_path)
    known = estimates(log)
    log.add_round(aggregate(3, "train", trained(slow=1e-6, quick=1e-6), {0: 1, 1: 2, 2: 3}))
    cut = replace(log.findings[-1], seconds=1e-4)
    believed = estimates(log, findings=[*log.findings[:-1], cut])
    assert (believed.step_s, believed.link) != (known.step_s, known.link)
    resumed = replace(cut, seconds=None)
    found = estimates(log, findings=[*log.findings[:-1], resumed])
    assert (found.step_s, found.link) == (known.step_s, known.link)
    # Where a boot has taken up every round, what the nodes beneath have seen is all there is.
    cut = [replace(f, seconds=None) if f.task == "train" else f for f in log.findings[:-1]]
    found = estimates(log, findings=cut)
    assert found.step_s == known.step_s
    assert [link.latency_s for link in found.link] == [known.link[0].latency_s, 0.0]


def test_the_gap_ends_at_the_least_loss_that_is_known(tmp_path):
    assert estimates(whole(tmp_path), least=0.5).gap == 2.5


def test_a_later_boot_reads_what_was_written_and_goes_on_alike(tmp_path):
    first = whole(tmp_path)
    again = PilotLog(tmp_path, RunId(5))
    assert estimates(again) == estimates(first)
    assert again.knows_gradient(3)
    assert not again.knows_gradient(4)
    assert PilotLog(tmp_path, RunId(6)).findings == [], "another run's are not its own"
    x = np.array([1, 0, 0], np.float32)
    for log in (first, again):
        log.add_gradient(aggregate(4, "gradient", gradients()), mean(), model=x, parameters=2)
    assert first.findings == again.findings


def test_a_round_that_is_done_again_replaces_what_came_of_it_and_after(tmp_path):
    log = whole(tmp_path)
    log.add_round(aggregate(1, "train", trained()))
    assert [(f.round, f.task) for f in log.findings] == [
        (0, "train"), (1, "gradient"), (1, "train"),
    ]  # fmt: skip


def test_end_points_whose_mean_is_not_the_model_say_nothing_of_curvature(tmp_path):
    """One of the two that trained kept none; then L is all that is known."""
    log = whole(tmp_path)
    findings = [
        replace(f, measured=gradients(kept=1)) if (f.round, f.task) == (2, "gradient") else f
        for f in log.findings
    ]
    found = estimates(log, findings=findings)
    assert (found.Lv, found.Lh) == (found.L, found.L)


def test_devices_that_did_not_move_apart_say_nothing_of_it_either(tmp_path):
    """sqrt(4 / 4) beside a model of 2^21: less than float32 vectors resolve."""
    log = whole(tmp_path)
    findings = [replace(f, model=2.0**21) for f in log.findings]
    found = estimates(log, findings=findings)
    assert (found.Lv, found.Lh) == (found.L, found.L)


@pytest.mark.parametrize("kept", [0, 1])
def test_too_few_gradients_are_no_estimate(tmp_path, kept):
    log = whole(tmp_path)
    nobody = Findings(round=1, task="gradient", measured=Measured())
    with pytest.raises(ConfigError, match=rf"measured {kept} gradients, and no two"):
        estimates(log, findings=[nobody, *log.findings[: 1 + kept]])


def test_gradients_that_are_not_around_one_round_are_no_estimate(tmp_path):
    """All abstained before round 2: how far a round comes was not seen."""
    log = whole(tmp_path)
    first, one, round_1, _, round_2, three = log.findings
    findings = [first, one, round_1, round_2, replace(three, smoothness=1.0)]
    with pytest.raises(ConfigError, match="before and after one of its rounds"):
        estimates(log, findings=findings)


def test_times_that_do_not_fit_into_a_round_are_not_believed(tmp_path):
    """They are told by children, of which one may tell anything."""
    log = whole(tmp_path)

    def told(**changes):
        rounds = [replace(f, **changes) if f.task == "train" else f for f in log.findings]
        return estimates(log, findings=rounds)

    huge = Measured(steps=StepTimes(devices=3, micros=FIGURE_MAX, slowest=((FIGURE_MAX, "a"),)))
    less = Measured(steps=StepTimes(devices=1, micros=0, slowest=((9, "a"), (9, "b"))))
    assert told(measured=huge).step_s == {"a": 9.0 / 4, "b": 0.0, "c": 0.0}
    assert set(told(measured=less).step_s.values()) == {0.5}, "what cells waited for them"
    most = told(spans={0: 0, 1: FIGURE_MAX, 2: FIGURE_MAX}).link
    assert [link.latency_s for link in most] == [9.0, 0.0]


def test_rates_and_latencies_are_those_that_explain_all_exchanges():
    """Of 1000 bytes a second, and .5 s to the parent and back; the largest takes two trips."""
    points = [(1000, 1, 1.5), (3000, 1, 3.5), (9000, 2, 10.0), (1000, 1, 1.5)]
    assert rate_and_latency(points) == (pytest.approx(1000), pytest.approx(0.5))
    # Noise may have it that the smaller took longer, or that nothing is left for a trip.
    assert rate_and_latency([(1000, 1, 2.0), (3000, 1, 1.0)]) == (None, 1.5)
    assert rate_and_latency([(1000, 1, 0.5), (3000, 1, 3.0)]) == (pytest.approx(1e7 / 9.5e3), 0.0)
    # Of exchanges that are alike nothing tells what their bytes took.
    assert rate_and_latency([(1000, 1, 2.0), (1000, 1, 4.0)]) == (None, 3.0)
    assert rate_and_latency([(9000, 2, 3.0)]) == (None, 1.5)
    assert rate_and_latency([]) == (None, 0.0)


def test_one_round_tells_times_and_what_is_usual_is_the_rest(tmp_path):
    log = whole(tmp_path)
    found = estimates_by_times(
        log.findings[0], PLAN, TREE, dimension=3, part_bytes=2**16, loss=2.0, least=0.5
    )
    assert found.step_s == {"a": 0.5, "b": 0.25, "c": 0.5}
    assert [link.latency_s for link in found.link] == [0.5, 3.5]
    assert found.gap == 1.5
    assert 0.5 < found.progress[0].loss_after < found.progress[0].loss_before == 2.0
