"""The full gradient of the federation's loss at the models that the cloud had.

The run is done again as nested loops in one process, which come to the same models to the bit;
at some of them every device's gradient over its training examples is measured as in a pilot.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.one_process import Tree
from fedtier.artefact.find import find_artefact
from fedtier.artefact.trainer import GradientTask
from fedtier.config.federation import Federation
from fedtier.model.layout import Vector, model_digest


def gradient_norms(
    federation: Federation, *, seed: int, every: int, ends_in: str | None = None
) -> list[dict[str, float]]:
    """``|grad F|^2`` at the models before rounds 0, ``every``, 2 ``every`` ... and at the last one.

    Args:
        federation: What was trained, devices counting alike.
        seed: Of the run.
        every: Rounds from one measurement to the next.
        ends_in: Digest of the model that the run ended in; these loops must end in the same.

    Returns:
        For each a row: ``round`` (of the last model the number of rounds), ``norm2``
        (|grad F|^2), ``loss`` (F), ``sigma2`` (the largest variance of a batch's gradient on a
        device) and ``zeta2`` by link, as in the assumptions of ``docs/theory.md``.

    Raises:
        AssertionError: If the loops end in another model.
    """
    federation = replace(federation, plan=replace(federation.plan, seed=seed))
    tree = Tree.load(federation)
    artefact = find_artefact(federation.artefact)
    model = artefact.initial()
    rows = []
    for number, after in enumerate(tree.rounds()):
        if number % every == 0:
            rows.append({"round": number, **at_model(tree, model)})
        model = after
    ended = model_digest(artefact.layout.digest, model)
    assert ends_in in (None, ended), "the nested loops end in another model than the run"
    return [*rows, {"round": federation.plan.rounds, **at_model(tree, model)}]


def at_model(tree: Tree, model: Vector) -> dict[str, Any]:
    """The gradient at one model; a row of ``gradient_norms`` without its round."""
    topology, plan = tree.federation.topology, tree.federation.plan
    means: dict[str, Vector] = {}
    losses, variances = [], []
    for device in topology.devices():
        task = GradientTask(models=(model,), seed=plan.seed, node=device)
        found = tree.trainer.gradients(task, tree.examples[device], cancelled=lambda: False)
        assert found is not None, "nobody cancels"
        means[device] = found.means[0].astype(np.float64)
        losses.append(found.losses[0])
        variances.append(found.variances[0])
    zeta2 = [0.0] * topology.tiers
    for cell in sorted(topology.cells(), key=lambda each: each.link):
        weights = np.array([len(topology.devices_beneath(child)) for child in cell.children])
        gradients = np.stack([means[child] for child in cell.children])
        mean = weights @ gradients / weights.sum()
        apart = ((gradients - mean) ** 2).sum(axis=1)
        zeta2[cell.link - 1] += float(weights @ apart) / len(topology.devices())
        means[cell.parent] = mean
    whole = means[topology.cloud]
    return {
        "norm2": float(whole @ whole),
        "loss": float(np.mean(losses)),
        "sigma2": max(variances),
        "zeta2": zeta2,
    }
