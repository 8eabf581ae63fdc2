"""A problem of which all constants of the theorem are known: a line through points on 16 devices.

``F_i`` is the mean squared error of 20 weights and an offset on the examples of a device, so its
curvature is the same everywhere and is found from 22 gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks.federations import Document
from benchmarks.one_process import Tree
from benchmarks.paper.campaign import PLACE
from benchmarks.paper.deals import kept
from benchmarks.paper.settings import DATA, LEVELS, links, tree_of
from cloud.compiler.compile import compile_module
from fedtier.artefact.find import find_artefact
from fedtier.artefact.trainer import GradientTask
from fedtier.ids import NodeId
from fedtier.planner.bound import Problem

DEVICES, FEATURES = 16, 20
FAN_IN = (4, 2, 2)
BATCH = 16
_ROWS = 150  # of which the last 15 % are kept back: 128 train, eight batches
_SEED = 7
_CELL, _OWN, _NOISE = 0.3, 0.2, 0.5  # deviations: of a cell's weights, a device's, a target


def document(cache: Path, *, rounds: int, tau: Sequence[int], mu: float) -> Document:
    """The federation, at a constant step size; nothing is held out."""
    data = kept(cache / DATA / "least-squares", _files)
    artefact = kept(cache / DATA / "line", _compile)
    return {
        "federation": {"id": "least-squares"},
        "tree": tree_of(FAN_IN),
        "model": {"artefact": f"{PLACE}/{DATA}/{artefact.name}"},
        "plan": {
            "rounds": rounds, "tau": list(tau), "quorum": "all",
            "schedule": {"kind": "constant", "mu": mu},
        },
        "link": links(LEVELS[:3]),
        "data": {"source": "npz-directory", "path": f"{PLACE}/{DATA}/{data.name}"},
    }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Curvature:
    """What is the same at all models: second derivatives H_i of the devices, H in the mean.

    Attributes:
        steepest: The largest ``|H_i|``, which is L and Lv.
        apart: The root of the mean of ``|H_i - H|^2``, which is Lh.
        gap: ``F(w_0) - min F = g H^-1 g / 2`` with g the gradient at the initial model.
    """

    steepest: float
    apart: float
    gap: float


def curvature(tree: Tree) -> Curvature:
    """Of a federation with its data."""
    model = find_artefact(tree.federation.artefact).initial()
    expansions = [_expansion(tree, device, model) for device in tree.examples]
    matrices = [matrix for _, matrix in expansions]
    mean = np.mean(matrices, axis=0)
    gradient = np.mean([each for each, _ in expansions], axis=0)
    return Curvature(
        steepest=float(max(np.linalg.norm(each, 2) for each in matrices)),
        apart=float(np.sqrt(np.mean([np.linalg.norm(each - mean, 2) ** 2 for each in matrices]))),
        gap=float(gradient @ np.linalg.solve(mean, gradient) / 2),
    )


def problem(tree: Tree, rows: Sequence[Mapping[str, Any]]) -> Problem:
    """The theorem's constants; variance and heterogeneity are the largest at the models of runs.

    Args:
        tree: The federation with its data.
        rows: Of ``gradient_norms``.
    """
    curved = curvature(tree)
    d = find_artefact(tree.federation.artefact).initial().size
    return Problem(
        smoothness=curved.steepest,
        smoothness_each=curved.steepest,
        smoothness_mean=curved.apart,
        gap=curved.gap,
        gradient_variance=max(row["sigma2"] for row in rows),
        heterogeneity=tuple(map(max, zip(*(row["zeta2"] for row in rows), strict=True))),
        q=tuple(codec.q_bound(d) for codec in tree.codecs),
    )


def _expansion(
    tree: Tree,
    device: NodeId,
    model: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The gradient at a model, and the matrix of second derivatives, symmetric."""
    along = [model + unit for unit in np.eye(model.size, dtype=np.float32)]
    task = GradientTask(models=(model, *along), seed=1, node=device)
    found = tree.trainer.gradients(task, tree.examples[device], cancelled=lambda: False)
    assert found is not None, "nobody cancels"
    here, *there = (each.astype(np.float64) for each in found.means)
    matrix = np.stack(there) - here
    return here, (matrix + matrix.T) / 2


def _files(directory: Path) -> None:
    draws = np.random.default_rng(_SEED)
    common = draws.normal(size=FEATURES)
    for device in range(DEVICES):
        if device % FAN_IN[0] == 0:
            cell = common + _CELL * draws.normal(size=FEATURES)
        weights = cell + _OWN * draws.normal(size=FEATURES)
        x = draws.normal(size=(_ROWS, FEATURES)).astype(np.float32)
        y = (x @ weights + _NOISE * draws.normal(size=_ROWS)).astype(np.float32)
        np.savez(directory / f"d{device}.npz", x=x, y=y)


def _compile(directory: Path) -> None:
    torch.manual_seed(1)
    compile_module(
        nn.Linear(FEATURES, 1), out=directory, name="line", input_shape=[FEATURES], labels=["y"],
        batch=BATCH, loss="mse",
    )  # fmt: skip
