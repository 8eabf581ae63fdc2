"""Refuse an artefact whose step is not the one that torch takes in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.func import functional_call

from cloud.compiler.float64 import in_float64, making_float64
from cloud.compiler.tensors import is_variance
from cloud.compiler.trace import in_mode
from fedtier.artefact.accumulate import accumulated_step
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.manifest import ArtefactManifest
from fedtier.artefact.masks import draw_masks
from fedtier.artefact.open_graph import Array
from fedtier.artefact.sample_feed import sample_batch, vectors_at_rest
from fedtier.artefact.torch_step import TorchStep
from fedtier.data.examples import Inputs
from fedtier.errors import ConfigError
from fedtier.ids import IterationPath, NodeId
from fedtier.model.layout import Vector

ERROR_MAX = 5e-6
"""Relative error allowed of the whole gradient, of a step, of statistics, of a batch of logits."""

TENSOR_ERROR_MAX = 1e-3
"""Relative error allowed of one tensor, so that a wrong small one cannot hide."""

VANISHING = 1e-9
"""A tensor with less of the whole gradient has none in truth, such as a bias whose mean is taken
off again: float64 finds roundings there, and so its error is taken as a share of the whole."""

_PROBES = 5
# w_next = w - mu g loses g's digits at a small mu: at 1 this measures the subtraction, not g.
_MU = np.asarray(1024.0, np.float32)

Arrays = Mapping[str, npt.NDArray[Any]]
Exact = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """Medians over the probes of relative errors in the 2-norm."""

    gradient: float
    tensors: float  # the largest among the tensors
    step: float  # with the optimiser's vectors drawn: of the step, or of the velocity if larger
    statistics: float  # running ones of batch normalisation, after the step; 0 without any
    logits: float  # of the evaluation graph


_BOUNDS = {
    "gradient": ERROR_MAX, "tensors": TENSOR_ERROR_MAX, "step": ERROR_MAX,
    "statistics": ERROR_MAX, "logits": ERROR_MAX,
}  # fmt: skip


def check_gradient(module: nn.Module, artefact: Artefact, *, lowering: str = "") -> GateResult:
    """Compare the compiled step with torch's in float64 from the same parameters.

    Five probes with random parameters near the initial ones, random inputs and labels; their
    median counts, since a single probe may lie at the kink of a ReLU or a tie of a maximum, where
    float32 and float64 rightly take different sides. Where the optimiser takes vectors, each probe
    takes two steps: with these at rest, which shows the gradient, and drawn.

    Args:
        module: What was compiled.
        artefact: What it became.
        lowering: Which training graph; the first by default.

    Raises:
        ConfigError: If a median exceeds its bound.
    """
    gate = _Gate(module, artefact, lowering=lowering)
    probes = [asdict(gate.probe(seed)) for seed in range(_PROBES)]
    found = {name: float(np.median([probe[name] for probe in probes])) for name in _BOUNDS}
    result = GateResult(**found)
    # Written so that NaN fails too.
    if not all(found[name] <= bound for name, bound in _BOUNDS.items()):
        raise ConfigError(
            f"{artefact.manifest.name}: against float64 the compiled gradient "
            f"({artefact.manifest.lowering_for(lowering)}) is off by "
            f"{result.gradient:.1e} (at most {ERROR_MAX:.0e}), its worst tensor by "
            f"{result.tensors:.1e} (at most {TENSOR_ERROR_MAX:.0e}), a step by {result.step:.1e}, "
            f"the running statistics by {result.statistics:.1e}, the logits by "
            f"{result.logits:.1e} (each at most {ERROR_MAX:.0e}). Nothing was written. "
            "Try another lowering; if it persists, this is a bug of the compiler."
        )
    return result


def check_parts(artefact: Artefact, *, lowering: str = "") -> None:
    """Compare a step by parts of its batch with the whole one, from the initial parameters.

    Raises:
        ConfigError: If they differ by more than rounding: rows of this model see each other.
    """
    manifest = artefact.manifest
    train, gradient = artefact.train_session(lowering), artefact.gradient_session(lowering)
    errors = []
    for seed in range(_PROBES):
        rng = np.random.default_rng(seed)
        w = _near_initial(artefact, rng)
        x, y = sample_batch(manifest, rng)
        feed: dict[str, Array] = {"w": w, "x": x, "y": y, "mu": _MU}
        (w_next,) = train.run(["w_next"], feed)
        by_parts = accumulated_step(gradient, feed)["w_next"]
        step = w.astype(np.float64) - w_next
        errors.append(_relative(w.astype(np.float64) - by_parts, step))
    error = float(np.median(errors))
    if not error <= ERROR_MAX:
        raise ConfigError(
            f"{manifest.name}: a step by parts of {manifest.microbatch} rows differs from the "
            f"whole one by {error:.1e} (at most {ERROR_MAX:.0e}): a row's loss depends on others. "
            "Leave microbatch out. Nothing was written."
        )


class _Gate:
    """The compiled graphs and, beside them, the module in float64."""

    def __init__(self, module: nn.Module, artefact: Artefact, *, lowering: str) -> None:
        self._artefact = artefact
        self._double = in_float64(module)
        self._exact = TorchStep(self._double, artefact.manifest)
        self._train = artefact.train_session(lowering)
        self._evaluate = artefact.evaluate_session()

    def probe(self, seed: int) -> GateResult:
        manifest = self._artefact.manifest
        rng = np.random.default_rng(seed)
        w = _near_initial(self._artefact, rng)
        x, y = sample_batch(manifest, rng)
        masks = draw_masks(
            manifest.masks, seed=seed, path=IterationPath((0,)), node=NodeId("gate"), step=0
        )
        feed = {"w": w, "x": x, "y": y, "mu": _MU, **masks, **vectors_at_rest(manifest, w)}
        compiled, exact = self._both(feed)
        found, gradient = self._gradient(feed, compiled), self._gradient(feed, exact)
        step = _relative(found, gradient)
        if manifest.optimiser.inputs:
            size = float(np.sqrt(np.mean(gradient**2)))  # so that no term hides another
            step = self._step_error({**feed, **_drawn(manifest, w, rng, size=size)})
        whole = float(np.linalg.norm(gradient))
        tensors = [
            _relative(found[start : start + spec.size], gradient[start : start + spec.size], whole)
            for spec, start in zip(manifest.layout.tensors, manifest.layout.offsets, strict=True)
            if start < manifest.parameters
        ]
        behind = slice(manifest.parameters, None)
        return GateResult(
            gradient=_relative(found, gradient),
            tensors=max(tensors),
            step=step,
            statistics=_relative(compiled["w_next"][behind], exact["w_next"][behind]),
            logits=self._logits_error(w, x),
        )

    def _both(self, feed: Arrays) -> tuple[Arrays, Arrays]:
        """What the compiled step gives, and what torch does in float64."""
        names = [output.name for output in self._train.get_outputs()]
        compiled = dict(zip(names, self._train.run(names, feed), strict=True))
        with making_float64():
            return compiled, self._exact(feed)

    def _gradient(self, feed: Arrays, after: Arrays) -> Exact:
        """The way that the parameters went, over the step size."""
        way = feed["w"].astype(np.float64) - after["w_next"]
        return way[: self._artefact.manifest.parameters] / float(_MU)

    def _step_error(self, feed: Arrays) -> float:
        compiled, exact = self._both(feed)
        error = _relative(self._gradient(feed, compiled), self._gradient(feed, exact))
        if "velocity_next" in exact:
            error = max(error, _relative(compiled["velocity_next"], exact["velocity_next"]))
        return error

    def _logits_error(self, w: Vector, x: Inputs) -> float:
        manifest = self._artefact.manifest
        rows = np.resize(x, (manifest.evaluate_batch, *manifest.input_shape))
        (evaluated,) = self._evaluate.run(["logits"], {"w": w, "x": rows})
        tensors = {
            name: torch.from_numpy(array.astype(np.float64))
            for name, array in self._artefact.layout.unflatten(w).items()
        }
        inputs = torch.from_numpy(rows)
        inputs = inputs.double() if inputs.is_floating_point() else inputs
        with making_float64(), in_mode(self._double, training=False), torch.no_grad():
            logits = functional_call(self._double, tensors, (inputs,))
        return _relative(evaluated, logits.numpy())


def _near_initial(artefact: Artefact, rng: np.random.Generator) -> Vector:
    """Off the initial point: a gain of 1 or a bias of 0 would hide a missing factor or term."""
    w = artefact.initial()
    w += (0.05 * rng.standard_normal(len(w))).astype(np.float32)
    for name, tensor in artefact.layout.unflatten(w).items():
        if is_variance(name):
            np.abs(tensor, out=tensor)
    return w


def _drawn(
    manifest: ArtefactManifest, w: Vector, rng: np.random.Generator, *, size: float
) -> dict[str, Vector]:
    drawn = {}
    for name in manifest.optimiser.inputs:
        vector = size * rng.standard_normal(manifest.parameters)
        if name == "anchor":
            vector = w[: manifest.parameters] - vector / manifest.optimiser.prox
        drawn[name] = vector.astype(np.float32)
    return drawn


def _relative(found: npt.NDArray[np.floating], exact: Exact, whole: float = 0.0) -> float:
    size = float(np.linalg.norm(exact))
    error = float(np.linalg.norm(found - exact))
    if size <= VANISHING * whole:
        size = whole
    return error / size if size else error
