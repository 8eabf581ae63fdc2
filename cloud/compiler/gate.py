"""Refuse an artefact whose gradient is not the one float64 autograd finds."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from onnxruntime import InferenceSession
from torch import nn
from torch.func import functional_call

from fedtier.artefact.artefact import Artefact
from fedtier.errors import ConfigError
from fedtier.model.layout import Vector

ERROR_MAX = 5e-6
"""Relative error allowed of the whole gradient, and of a batch of logits."""

TENSOR_ERROR_MAX = 1e-3
"""Relative error allowed of one tensor, so that a wrong small one cannot hide."""

VANISHING = 1e-9
"""A tensor with less of the whole gradient has none in truth, such as a bias whose mean is taken
off again: float64 finds roundings there, and so its error is taken as a share of the whole."""

_PROBES = 5
# w_next = w - mu g loses g's digits at a small mu: at 1 this measures the subtraction, not g.
_MU = np.asarray(1024.0, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """Medians over the probes of relative errors in the 2-norm."""

    gradient: float
    tensors: float  # the largest among the tensors
    logits: float


def check_gradient(module: nn.Module, artefact: Artefact) -> GateResult:
    """Compare the compiled step with float64 autograd from the same parameters.

    Five probes with random parameters near the initial ones, random inputs and labels; their
    median counts, since a single probe may lie at the kink of a ReLU or a tie of a maximum, where
    float32 and float64 rightly take different sides.

    Raises:
        ConfigError: If a median exceeds its bound.
    """
    double = copy.deepcopy(module).double()
    train, evaluate = artefact.train_session(), artefact.evaluate_session()
    probes = [_probe(double, artefact, train, evaluate, seed) for seed in range(_PROBES)]
    result = GateResult(
        gradient=float(np.median([probe.gradient for probe in probes])),
        tensors=float(np.median([probe.tensors for probe in probes])),
        logits=float(np.median([probe.logits for probe in probes])),
    )
    bounds = (ERROR_MAX, TENSOR_ERROR_MAX, ERROR_MAX)
    found = (result.gradient, result.tensors, result.logits)
    # Written so that NaN fails too.
    if not all(error <= bound for error, bound in zip(found, bounds, strict=True)):
        raise ConfigError(
            f"{artefact.manifest.name}: against float64 the compiled gradient is off by "
            f"{result.gradient:.1e} (at most {ERROR_MAX:.0e}), its worst tensor by "
            f"{result.tensors:.1e} (at most {TENSOR_ERROR_MAX:.0e}), the logits by "
            f"{result.logits:.1e} (at most {ERROR_MAX:.0e}). Nothing was written. "
            "Try another lowering; if it persists, this is a bug of the compiler."
        )
    return result


def _probe(
    double: nn.Module,
    artefact: Artefact,
    train: InferenceSession,
    evaluate: InferenceSession,
    seed: int,
) -> GateResult:
    manifest = artefact.manifest
    rng = np.random.default_rng(seed)
    w = artefact.initial()
    # Off the initial point: a gain of exactly 1 or a bias of 0 would hide a missing factor or term.
    w += (0.05 * rng.standard_normal(len(w))).astype(np.float32)
    x = rng.standard_normal((manifest.batch, *manifest.input_shape)).astype(np.float32)
    y = rng.integers(0, manifest.classes, manifest.batch)
    feed = {"w": w, "x": x, "y": y, "mu": _MU}
    (w_next,) = train.run(["w_next"], feed)
    found = (w.astype(np.float64) - w_next) / float(_MU)
    logits, gradient = _exact(double, artefact, w, x, y)
    rows = np.resize(x, (manifest.evaluate_batch, *manifest.input_shape))
    (evaluated,) = evaluate.run(["logits"], {"w": w, "x": rows})
    known = min(len(logits), len(evaluated))
    tensors = [
        _relative(found[start : start + spec.size], gradient[start : start + spec.size])
        for spec, start in zip(manifest.layout.tensors, manifest.layout.offsets, strict=True)
    ]
    return GateResult(
        gradient=_relative(found, gradient),
        tensors=max(tensors),
        logits=_relative(evaluated[:known], logits[:known]),
    )


def _exact(
    double: nn.Module,
    artefact: Artefact,
    w: Vector,
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    parameters = {
        name: torch.from_numpy(array.astype(np.float64)).requires_grad_()
        for name, array in artefact.layout.unflatten(w).items()
    }
    logits = functional_call(double, parameters, (torch.from_numpy(x).double(),))
    loss = nn.functional.cross_entropy(
        logits, torch.from_numpy(y), label_smoothing=artefact.manifest.smoothing
    )
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    flat = [gradient.numpy().ravel() for gradient in gradients]
    return logits.detach().numpy(), np.concatenate(flat)


def _relative(found: npt.NDArray[np.floating], exact: npt.NDArray[np.float64]) -> float:
    size = float(np.linalg.norm(exact))
    error = float(np.linalg.norm(found - exact))
    return error / size if size else error
