"""Refuse an artefact whose gradient is not the one float64 autograd finds."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from onnxruntime import InferenceSession
from torch import nn
from torch.func import functional_call

from cloud.compiler.tensors import is_variance
from cloud.compiler.trace import in_mode
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.manifest import ArtefactManifest
from fedtier.data.examples import Inputs
from fedtier.errors import ConfigError
from fedtier.model.layout import Vector

ERROR_MAX = 5e-6
"""Relative error allowed of the whole gradient, of the statistics, and of a batch of logits."""

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
    statistics: float  # running ones of batch normalisation, after the step; 0 without any
    logits: float  # of the evaluation graph


def check_gradient(module: nn.Module, artefact: Artefact) -> GateResult:
    """Compare the compiled step with float64 autograd from the same parameters.

    Five probes with random parameters near the initial ones, random inputs and labels; their
    median counts, since a single probe may lie at the kink of a ReLU or a tie of a maximum, where
    float32 and float64 rightly take different sides.

    Raises:
        ConfigError: If a median exceeds its bound.
    """
    double = _in_float64(module)
    train, evaluate = artefact.train_session(), artefact.evaluate_session()
    probes = [_probe(double, artefact, train, evaluate, seed) for seed in range(_PROBES)]
    result = GateResult(
        gradient=float(np.median([probe.gradient for probe in probes])),
        tensors=float(np.median([probe.tensors for probe in probes])),
        statistics=float(np.median([probe.statistics for probe in probes])),
        logits=float(np.median([probe.logits for probe in probes])),
    )
    bounds = (ERROR_MAX, TENSOR_ERROR_MAX, ERROR_MAX, ERROR_MAX)
    found = (result.gradient, result.tensors, result.statistics, result.logits)
    # Written so that NaN fails too.
    if not all(error <= bound for error, bound in zip(found, bounds, strict=True)):
        raise ConfigError(
            f"{artefact.manifest.name}: against float64 the compiled gradient is off by "
            f"{result.gradient:.1e} (at most {ERROR_MAX:.0e}), its worst tensor by "
            f"{result.tensors:.1e} (at most {TENSOR_ERROR_MAX:.0e}), the running statistics by "
            f"{result.statistics:.1e}, the logits by {result.logits:.1e} (both at most "
            f"{ERROR_MAX:.0e}). Nothing was written. "
            "Try another lowering; if it persists, this is a bug of the compiler."
        )
    return result


def _in_float64(module: nn.Module) -> nn.Module:
    """A copy whose parameters, buffers and other tensors are float64."""
    double = copy.deepcopy(module).double()
    for part in double.modules():
        for name, held in vars(part).items():
            if isinstance(held, torch.Tensor) and held.is_floating_point():
                setattr(part, name, held.double())
    return double


@contextmanager
def _making_float64() -> Iterator[None]:
    """What a forward makes without saying a type is float64, such as an initial state of zeros."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    except RuntimeError as error:
        raise ConfigError(
            f"the module does not run in float64, in which its gradient is checked ({error}). "
            "Where forward makes a tensor, name no type, or that of the input: x.new_zeros(...)."
        ) from error
    finally:
        torch.set_default_dtype(before)


def _probe(
    double: nn.Module,
    artefact: Artefact,
    train: InferenceSession,
    evaluate: InferenceSession,
    seed: int,
) -> GateResult:
    manifest, layout = artefact.manifest, artefact.layout
    rng = np.random.default_rng(seed)
    w = artefact.initial()
    # Off the initial point: a gain of exactly 1 or a bias of 0 would hide a missing factor or term.
    w += (0.05 * rng.standard_normal(len(w))).astype(np.float32)
    for name, tensor in layout.unflatten(w).items():
        if is_variance(name):
            np.abs(tensor, out=tensor)
    x, y = _batch(manifest, rng)
    (w_next,) = train.run(["w_next"], {"w": w, "x": x, "y": y, "mu": _MU})
    with _making_float64():
        exact = _exact(double, artefact, w, x, y)
    trained = len(exact.gradient)
    found = (w[:trained].astype(np.float64) - w_next[:trained]) / float(_MU)
    rows = np.resize(x, (manifest.evaluate_batch, *manifest.input_shape))
    (evaluated,) = evaluate.run(["logits"], {"w": w, "x": rows})
    known = min(len(exact.logits), len(evaluated))
    whole = float(np.linalg.norm(exact.gradient))
    parts = [
        slice(start, start + spec.size)
        for spec, start in zip(layout.tensors, layout.offsets, strict=True)
        if start < trained
    ]
    return GateResult(
        gradient=_relative(found, exact.gradient),
        tensors=max(_relative(found[part], exact.gradient[part], whole=whole) for part in parts),
        statistics=_relative(w_next[trained:], exact.statistics),
        logits=_relative(evaluated[:known], exact.logits[:known]),
    )


def _batch(
    manifest: ArtefactManifest, rng: np.random.Generator
) -> tuple[Inputs, npt.NDArray[np.int64]]:
    shape = (manifest.batch, *manifest.input_shape)
    if manifest.vocabulary is not None:
        x: Inputs = rng.integers(0, manifest.vocabulary, shape)
    else:
        x = rng.standard_normal(shape).astype(np.float32)
    return x, rng.integers(0, manifest.classes, manifest.batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exact:
    """What float64 finds: of one training step, and of the evaluation before it."""

    gradient: npt.NDArray[np.float64]
    statistics: npt.NDArray[np.float64]
    logits: npt.NDArray[np.float64]


def _exact(
    double: nn.Module,
    artefact: Artefact,
    w: Vector,
    x: Inputs,
    y: npt.NDArray[np.int64],
) -> _Exact:
    tensors = {
        name: torch.from_numpy(array.astype(np.float64))
        for name, array in artefact.layout.unflatten(w).items()
    }
    inputs = torch.from_numpy(x)
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    with in_mode(double, training=False), torch.no_grad():
        evaluated = functional_call(double, tensors, (inputs,))
    parameters = {name: tensors[name].requires_grad_() for name, _ in double.named_parameters()}
    with in_mode(double, training=True):
        logits = functional_call(double, tensors, (inputs,))
    loss = nn.functional.cross_entropy(
        logits, torch.from_numpy(y), label_smoothing=artefact.manifest.smoothing
    )
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    return _Exact(
        gradient=_flat(gradients),
        statistics=_flat([tensors[name] for name in tensors if name not in parameters]),
        logits=evaluated.numpy(),
    )


def _flat(tensors: Sequence[torch.Tensor]) -> npt.NDArray[np.float64]:
    return np.concatenate([np.zeros(0), *(tensor.numpy().ravel() for tensor in tensors)])


def _relative(
    found: npt.NDArray[np.floating], exact: npt.NDArray[np.float64], *, whole: float = 0.0
) -> float:
    size = float(np.linalg.norm(exact))
    error = float(np.linalg.norm(found - exact))
    if size <= VANISHING * whole:
        size = whole
    return error / size if size else error
