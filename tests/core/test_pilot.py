"""A pilot over a whole tree, on quadratics whose constants are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from crooked_world import Rogue
from world import World
from world_shapes import Shape, irregular, make_plan, regular

from fedtier.core.pilot import asks_gradient, keeps_end, plan_of_round
from fedtier.errors import TrainingError
from fedtier.ids import NodeId
from fedtier.wire.manifest import UpdateManifest, encode_update
from fedtier.wire.plan import CodecSpec, Plan

QSGD = CodecSpec(name="qsgd", parameters=(("bucket", 16), ("levels", 7)))
DIMENSION = 40


class Quadratics:
    """``F_i(w) = h_i |w - b_i|^2 / 2``, with a stated variance of a batch's gradient.

    Attributes:
        asked: Every model at which a device was asked for its gradient, in float64.
    """

    def __init__(self, shape: Shape, *, seed: int = 3, curvatures: tuple[float, float]):
        draws = np.random.default_rng(seed)
        self.b = {d: draws.normal(size=DIMENSION).astype(np.float32) for d in shape.devices}
        self.h = {d: np.float32(draws.uniform(*curvatures)) for d in shape.devices}
        self.variance = {d: float(draws.uniform(1, 2)) for d in shape.devices}
        self.asked: list[tuple[str, np.ndarray]] = []
        self.ends: dict[str, np.ndarray] = {}
        self.failing: set[str] = set()
        self.plan: Plan | None = None

    def at(self, node, w):
        return float(self.h[node]) * (np.asarray(w, np.float64) - self.b[node])

    def train(self, node, task, model):
        if str(node) in self.failing:
            raise TrainingError("no data today")
        w = model.copy()
        for _ in range(task.steps):
            w = w - np.float32(task.schedule.mu) * self.h[node] * (w - self.b[node])
        if keeps_end(self.plan, task.path.round):
            self.ends[str(node)] = w
        return w

    def gradient(self, node, model):
        if str(node) in self.failing:
            raise TrainingError("no data today")
        self.asked.append((str(node), model.astype(np.float64)))
        loss = float(self.h[node]) * float(np.sum((model - self.b[node]) ** 2)) / 2
        return loss, (self.h[node] * (model - self.b[node])).astype(np.float32), self.variance[node]


def pilot(shape, problem, disk, *, rounds=4, pilot=3, tau_1=3, codec=QSGD, **world):
    plan = make_plan(
        (tau_1, *(2 for _ in range(shape.height - 1))), rounds=rounds,
        codecs=(codec,) * shape.height, pilot=pilot,
    )  # fmt: skip
    problem.plan = plan
    return World(
        shape, plan, problem.train, disk=disk, start=np.zeros(DIMENSION), gradient=problem.gradient,
        **world,
    )  # fmt: skip


def means(shape, problem, w):
    """The gradient of every node's loss at ``w``, in float64."""

    def of(node):
        if node not in shape.tiers:
            return problem.at(node, w)
        return sum(shape.weight(c) * of(c) for c in shape.children(node)) / shape.weight(node)

    return {node: of(node) for node in [*shape.parents, "cloud"]}


def heterogeneity(shape, problem, w):
    """``zeta_n^2`` at one point, by its definition; a child far below counts at its own link."""
    found, total = np.zeros(shape.height), shape.weight("cloud")
    gradients = means(shape, problem, w)
    for node, parent in shape.parents.items():
        far = np.sum((gradients[node] - gradients[parent]) ** 2)
        found[shape.tiers[parent] - 1] += shape.weight(node) / total * far
    return found


TREES = {
    "one tier": regular(4),
    "three tiers": regular(2, 2, 2),
    "weights": regular(2, 3, weights={"d0": 5, "d3": 2}),
    "irregular": irregular(5, 3),
}


@pytest.mark.covers("E-1")
@pytest.mark.covers("E-2")
@pytest.mark.parametrize("name", TREES)
def test_the_constants_are_those_of_the_quadratics(name, tmp_path):
    shape = TREES[name]
    problem = Quadratics(shape, curvatures=(0.5, 2.0))
    world = pilot(shape, problem, tmp_path, step_s=lambda node: 0.5 + int(node[1:]) / 100)
    world.run()
    found = world.estimates
    visited = []  # the cloud's models x_1, x_2, x_3: every device was asked at each
    for node, x in problem.asked:
        if node == shape.devices[0] and not any(np.array_equal(x, known) for known in visited):
            visited.append(x)
    models = [x for x in visited if all(
        any(n == d and np.array_equal(x, at) for n, at in problem.asked) for d in shape.devices
    )]  # fmt: skip
    assert len(models) == 3
    share = {d: shape.weight(d) / shape.weight("cloud") for d in shape.devices}
    # Vectors travel as float32: relative errors of some 1e-6 in squares of differences.
    zeta2 = np.max([heterogeneity(shape, problem, x) for x in models], axis=0)
    np.testing.assert_allclose(found.zeta2, zeta2, rtol=1e-5, atol=1e-9)
    assert found.sigma2 == max(problem.variance.values())
    mean_h = sum(share[d] * float(problem.h[d]) for d in shape.devices)
    # A quotient of differences of float32 vectors that are a tenth apart: 1e-6 / 0.1.
    assert pytest.approx(mean_h, rel=1e-5) == found.L
    # The only end points that were kept are those of round 1, whose mean is x_2.
    apart = {d: problem.ends[d] - models[1] for d in shape.devices}
    dispersion = sum(share[d] * np.sum(apart[d] ** 2) for d in shape.devices)
    each = sum(share[d] * float(problem.h[d]) ** 2 * np.sum(apart[d] ** 2) for d in shape.devices)
    mean = sum(share[d] * float(problem.h[d]) * apart[d] for d in shape.devices)
    assert found.Lv == pytest.approx(math.sqrt(each / dispersion), rel=1e-5)
    assert found.Lh == pytest.approx(np.linalg.norm(mean) / math.sqrt(dispersion), rel=1e-4)
    assert found.Lh < found.Lv < 2.0
    assert found.Lh <= max(abs(float(h) - mean_h) for h in problem.h.values()) * (1 + 1e-5)
    losses = [
        sum(share[d] * float(problem.h[d]) * np.sum((x - problem.b[d]) ** 2) / 2 for d in share)
        for x in models
    ]
    assert found.gap == pytest.approx(losses[0], rel=1e-6)
    told = [(each.loss_before, each.loss_after) for each in found.progress]
    assert told == [pytest.approx(losses[:2], rel=1e-6), pytest.approx(losses[1:], rel=1e-6)]
    assert [each.tau for each in found.progress] == [(3, *(1,) * (shape.height - 1))] * 2
    assert found.dimension == DIMENSION
    assert found.step_s == {d: pytest.approx(0.5 + int(d[1:]) / 100) for d in shape.devices}


def test_devices_with_one_curvature_have_no_drift_to_speak_of(tmp_path):
    """All Hessians are 1.5: the mean gradient at the end points is that at their mean."""
    shape = regular(2, 2)
    problem = Quadratics(shape, curvatures=(1.5, 1.5))
    world = pilot(shape, problem, tmp_path)
    world.run()
    found = world.estimates
    assert pytest.approx(1.5, rel=1e-5) == found.L
    assert found.Lv == pytest.approx(1.5, rel=1e-5)
    assert found.Lh < 1e-5, "roundings of float32 alone"


@pytest.mark.covers("E-3")
@pytest.mark.covers("H-3")
def test_a_pilots_rounds_alternate_and_each_follows_a_gradient(tmp_path):
    shape = regular(2, 2)
    problem = Quadratics(shape, curvatures=(1, 2))
    world = pilot(shape, problem, tmp_path, rounds=5, pilot=4)
    heads = []
    watched = world.cloud.machine.cell.open
    world.cloud.machine.cell.open = lambda head, *a, **k: (
        heads.append(head) or watched(head, *a, **k)
    )
    world.run()
    asked = [
        (head.path.round, head.task, head.plan.tau, head.plan.codecs[0].name) for head in heads
    ]
    assert asked == [
        (0, "train", (3, 1), "qsgd"),
        (1, "gradient", (3, 1), "identity"), (1, "train", (3, 1), "identity"),
        (2, "gradient", (3, 1), "qsgd"), (2, "train", (3, 1), "qsgd"),
        (3, "gradient", (3, 1), "identity"), (3, "train", (3, 1), "identity"),
        (4, "gradient", (3, 2), "qsgd"), (4, "train", (3, 2), "qsgd"),
        (5, "evaluate", (3, 2), "qsgd"),
    ]  # fmt: skip
    (link, _) = world.estimates.link
    assert link.codec == "qsgd"
    assert link.parameters == {"bucket": 16, "levels": 7}
    # Of 4 deltas in each of two quantized rounds; at most sqrt(16)/7 by a bucket's worst case.
    assert 0 < link.q < 4 / 7
    counted = world.cloud.finished.figures.links[1]
    assert counted.deltas == 4 * (4 * 1 + 1 * 2), "gradients are no deltas"
    assert counted.q_count == 4 * (2 * 1 + 1 * 2), "of two of the pilot's rounds none is quantized"


def test_the_pilot_of_a_plan_without_one_is_nothing():
    plan = make_plan((2, 3), rounds=5)
    assert not any(asks_gradient(plan, r) or keeps_end(plan, r) for r in range(5))
    assert plan_of_round(plan, 0) == plan
    measured = replace(plan, pilot=2)
    assert [asks_gradient(measured, r) for r in range(4)] == [False, True, True, False]
    assert [keeps_end(measured, r) for r in range(4)] == [False, True, False, False]


def outcome(shape, problem, disk, disturb=lambda world: None, **world_options):
    world = pilot(shape, problem, disk, **world_options)
    disturb(world)
    world.run()
    return world.estimates, world.digest


def without_times(estimates):
    links = (replace(each, latency_s=0, rate_bytes_per_s=None) for each in estimates.link)
    return replace(estimates, link=tuple(links))


@pytest.mark.covers("E-5")
@pytest.mark.parametrize("victim", ["cloud", "g1-0", "d0"])
@pytest.mark.parametrize("round_", [1, 2])
@pytest.mark.parametrize("delay_s", [0.0, 0.5, 1.0, 1.5, 2.5, 4.0])
def test_a_restart_in_mid_pilot_changes_no_estimate(victim, round_, delay_s, tmp_path):
    """Work takes a second, so the moments lie in measuring, in summing and in training."""
    shape = regular(2, 2)
    problem = Quadratics(shape, curvatures=(0.5, 2))
    calm = outcome(shape, problem, tmp_path / "calm", work_s=lambda node: 1.0)

    def disturb(world):
        world.run(until=lambda w: w.rounds_done == round_ and (
            w.cloud.machine.cell.state == "collecting"
        ))  # fmt: skip
        at_s = world.now_s + delay_s
        world.at(at_s, lambda: world.restart(victim))

    shaken = outcome(shape, problem, tmp_path / "shaken", disturb, work_s=lambda node: 1.0)
    assert without_times(shaken[0]) == without_times(calm[0])
    assert shaken[1] == calm[1]


@pytest.mark.covers("E-1")
def test_a_child_that_abstains_is_left_out_of_every_mean(tmp_path):
    """The rest of its cell goes on as admitted; the estimates are those of the devices there."""
    shape = regular(4)
    problem = Quadratics(shape, curvatures=(0.5, 2))
    problem.failing = {"d3"}
    world = pilot(shape, problem, tmp_path / "with")
    world.run()
    found = world.estimates
    rest = regular(3)
    others = pilot(rest, problem, tmp_path / "without")
    problem.failing = set()
    others.run()
    # The fixed point of a mean depends on the weights admitted: other roundings of float32.
    for name in ("sigma2", "gap", "L", "Lh", "Lv"):
        assert getattr(found, name) == pytest.approx(getattr(others.estimates, name), rel=1e-5), (
            name
        )
    np.testing.assert_allclose(found.zeta2, others.estimates.zeta2, rtol=1e-5)


def test_where_nobody_answers_there_are_no_estimates_and_the_run_goes_on(tmp_path, caplog):
    shape = regular(2, 2)
    problem = Quadratics(shape, curvatures=(1, 2))
    problem.failing = set(shape.devices)
    world = pilot(shape, problem, tmp_path)
    world.run()
    assert world.estimates is None
    (record,) = (each for each in caplog.records if each.message == "not estimated")
    assert record.reason.startswith("the pilot measured 0 gradients")


def test_a_gradient_beyond_the_range_is_an_abstention_that_says_so(tmp_path):
    shape = regular(2)
    problem = Quadratics(shape, curvatures=(1, 2))
    problem.h["d0"] = np.float32(1e6)
    world = pilot(shape, problem, tmp_path, tau_1=1)
    world.run(until=lambda w: w.rounds_done == 2)
    reasons = [n.fields["reason"] for n in world.cloud.notes if n.event == "member abstained"]
    assert any("of the gradient is beyond 2^6" in reason for reason in reasons)


@pytest.mark.covers("W-7")
@pytest.mark.parametrize("vectors", [1, 3])
def test_an_answer_with_other_than_two_vectors_is_refused_and_the_honest_one_counts(
    tmp_path, vectors
):
    shape = regular(3)
    problem = Quadratics(shape, curvatures=(0.5, 2))
    world = pilot(shape, problem, tmp_path, work_s=lambda node: 10.0)
    world.run(until=lambda w: w.rounds_done == 1 and w.cloud.machine.cell.state == "collecting")
    head = world.cloud.machine.cell.head
    assert head.task == "gradient"
    rogue = Rogue(world, "cloud", hears="+/ack")
    honest = UpdateManifest(
        run=head.run, path=head.path, node=NodeId("d0"), task="gradient", base=head.model,
        layout=head.layout, weight=1, codec="identity",
    )  # fmt: skip
    section = np.ones(DIMENSION, "<f4").tobytes()
    rogue.offer("d0", head, encode_update(honest, (section,) * vectors))
    world.settle()
    assert [ack.verdict for ack in rogue.heard] == ["rejected"]
    world.run()
    assert world.estimates.sigma2 == max(problem.variance.values())
