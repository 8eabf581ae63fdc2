"""What a cloud writes down of a pilot, and what it makes of a pilot that was not whole."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from cloud.estimate import estimates_of
from cloud.pilot import Findings, PilotLog
from fedtier.core.counts import FIGURE_MAX
from fedtier.core.effects import Aggregate, Job
from fedtier.core.exchanges import EXCHANGE_MAX, Exchanges
from fedtier.core.figures import Figures
from fedtier.core.measured import GradientFigures, Measured, StepTimes
from fedtier.errors import ConfigError
from fedtier.ids import BootNonce, IterationPath, NodeId, RunId
from fedtier.runtime.mean import MeanGradient
from fedtier.wire.head import Head
from fedtier.wire.plan import IDENTITY, CodecSpec, Plan

QSGD = CodecSpec(name="qsgd", parameters=(("levels", 7),))
PLAN = Plan(
    seed=7, rounds=9, tau=(4, 2), codecs=(QSGD, IDENTITY), schedule="constant", mu=0.1,
    floor=1.0, pilot=2,
)  # fmt: skip


def aggregate(round_, task, measured, exchanges=None):
    head = Head(
        nonce=BootNonce(1), seq=1, run=RunId(5), epoch=0, path=IterationPath((round_,)),
        state="open", task=task, model="ab" * 32, layout="cd" * 32, dimension=3,
        artefact="ef" * 32, blobs=(), tier=2, first_step=0, p0=0, p1=0, plan=PLAN,
    )  # fmt: skip
    return Aggregate(
        job=Job.of(head), head=head, came=(), admitted_weight=1, above=None, done=round_,
        trained=round_, seconds=0.0, reasons=(), model=b"",
        figures=Figures(measured=measured, exchanges=exchanges or {}),
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


def whole(directory):
    log = PilotLog(directory, RunId(5))
    exchanges = {1: Exchanges.of(size=100, micros=50)}
    x = np.zeros(3, np.float32)
    log.add_gradient(aggregate(0, "gradient", gradients()), mean(), model=x, parameters=2)
    log.add_round(aggregate(0, "train", trained(q=0.0)))
    x = np.array([0.5, 0, 99], np.float32)  # the third is no parameter
    found = mean(size=0.25, far=6)
    last = aggregate(1, "gradient", gradients(loss=2.0), exchanges)
    log.add_gradient(last, found, model=x, parameters=2)
    log.add_round(aggregate(1, "train", trained(slow=0.125)))
    log.add_gradient(
        aggregate(2, "gradient", gradients(loss=1.0, kept=0), exchanges), mean(size=0.25),
        model=x + np.float32(1), parameters=2,
    )  # fmt: skip
    log.save()
    return log


def estimates(log, **changes):
    return estimates_of(
        changes.get("findings", log.findings), log.exchanges, PLAN, dimension=3,
        devices=["a", "b", "c"], seconds=changes.get("seconds", 1000.0),
    )  # fmt: skip


def test_each_number_is_read_from_where_it_was_measured(tmp_path):
    found = estimates(whole(tmp_path))
    assert found.gap == 3.0
    assert found.sigma2 == 0.5
    assert found.zeta2 == (2.0, 1.5), "8 and the largest of 2, 6 and 2, over the weight 4"
    assert found.L == 1.5, "0.75 over 0.5: the third coordinate is no parameter's"
    assert (found.Lv, found.Lh) == (2.0, 0.5), "sqrt(16 / 4) and 0.5, over sqrt(4 / 4)"
    assert found.step_s == {"a": 0.125, "b": 0.25}, "the faster round of each; c never trained"
    assert [link.q for link in found.link] == [0.25, 0.0], "of round 1: nothing is quantized in 0"
    assert [link.latency_s for link in found.link] == [5e-5, 0.0]
    assert [(r.loss_before, r.loss_after) for r in found.progress] == [(3.0, 2.0), (2.0, 1.0)]


def test_a_later_boot_reads_what_was_written_and_goes_on_alike(tmp_path):
    first = whole(tmp_path)
    again = PilotLog(tmp_path, RunId(5))
    assert estimates(again) == estimates(first)
    assert again.knows_gradient(2)
    assert not again.knows_gradient(3)
    assert PilotLog(tmp_path, RunId(6)).findings == [], "another run's are not its own"
    x = np.array([1, 0, 0], np.float32)
    for log in (first, again):
        log.add_gradient(aggregate(3, "gradient", gradients()), mean(), model=x, parameters=2)
    assert first.findings == again.findings


def test_a_round_that_is_done_again_replaces_what_came_of_it_and_after(tmp_path):
    log = whole(tmp_path)
    log.add_round(aggregate(0, "train", trained()))
    assert [(f.round, f.task) for f in log.findings] == [(0, "gradient"), (0, "train")]


def test_end_points_whose_mean_is_not_the_model_say_nothing_of_curvature(tmp_path):
    """One of the two that trained kept none; then L is all that is known."""
    log = whole(tmp_path)
    findings = [
        replace(f, measured=gradients(kept=1)) if (f.round, f.task) == (1, "gradient") else f
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
    nobody = Findings(round=0, task="gradient", measured=Measured())
    with pytest.raises(ConfigError, match=rf"measured {kept} gradients at models that differ"):
        estimates(log, findings=[nobody, *log.findings[:kept]])


def test_gradients_that_are_not_around_one_round_are_no_estimate(tmp_path):
    """All abstained before round 1: how far a round comes was not seen."""
    log = whole(tmp_path)
    zero, round_0, _, round_1, two = log.findings
    findings = [zero, round_0, round_1, replace(two, smoothness=1.0)]
    with pytest.raises(ConfigError, match="before and after one of its rounds"):
        estimates(log, findings=findings)


def test_times_that_do_not_fit_into_the_pilot_are_not_believed(tmp_path):
    """They are told by children, of which one may tell anything."""
    log = whole(tmp_path)
    huge = Measured(steps=StepTimes(devices=3, micros=FIGURE_MAX, slowest=((FIGURE_MAX, "a"),)))
    less = Measured(steps=StepTimes(devices=1, micros=0, slowest=((9, "a"), (9, "b"))))
    rounds = [replace(f, measured=huge) if f.task == "train" else f for f in log.findings]
    assert estimates(log, findings=rounds, seconds=60.0).step_s == {"a": 15.0, "b": 0.0, "c": 0.0}
    rounds = [replace(f, measured=less) if f.task == "train" else f for f in log.findings]
    assert set(estimates(log, findings=rounds).step_s.values()) == {9e-6}
    log.exchanges[1] = Exchanges.of(size=100, micros=EXCHANGE_MAX)
    log.exchanges[2] = Exchanges.of(size=1, micros=0) + Exchanges.of(size=2, micros=10**20)
    slow, thin = estimates(log, seconds=60.0).link
    assert slow.latency_s == 60.0
    assert thin.rate_bytes_per_s == 12 / 60, "an update of three float32 numbers came within it"
