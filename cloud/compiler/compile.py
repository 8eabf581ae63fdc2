"""From a torch module to an artefact on disk."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cloud.compiler.gate import GateResult, check_gradient, check_parts
from cloud.compiler.graphs import Source, build_evaluate, build_gradient, build_infer, build_train
from cloud.compiler.ops.convolution import LOWERING_NAMES
from cloud.compiler.serialize import OPSET
from cloud.compiler.tensors import ModuleTensors, tensors_of
from cloud.compiler.trace import find_masks, in_mode, last_operation
from cloud.compiler.user_module import MISTAKES, told
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.loss import Loss, LossKind
from fedtier.artefact.manifest import (
    EVALUATE_FILE,
    INFER_FILE,
    INITIAL_FILE,
    INPUT_DTYPES,
    ArtefactManifest,
    InputDtype,
)
from fedtier.artefact.masks import Mask
from fedtier.artefact.optimiser import Optimiser
from fedtier.errors import ConfigError
from fedtier.model.layout import ParameterLayout

EVALUATE_BATCH_DEFAULT = 32
_PRODUCERS = ("torch", "onnx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """An artefact, and how near its gradient is to the exact one."""

    artefact: Artefact
    gate: GateResult  # of the lowering that is furthest from it
    warnings: tuple[str, ...] = ()  # what compiles, and is hardly meant


def compile_module(
    module: nn.Module,
    *,
    name: str,
    input_shape: Sequence[int],
    labels: Sequence[str],
    batch: int,
    out: Path | None,
    input_dtype: InputDtype = "float32",
    vocabulary: int | None = None,
    evaluate_batch: int = EVALUATE_BATCH_DEFAULT,
    loss: LossKind = "cross_entropy",
    smoothing: float = 0.0,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    prox: float = 0.0,
    correction: bool = False,
    lowering: str = "conv",
    preprocessing: Sequence[Mapping[str, Any]] = (),
    augmentation: Sequence[Mapping[str, Any]] = (),
    microbatch: int | None = None,
) -> Compiled:
    """Compile a module to graphs that train and predict without torch.

    The same module, arguments and versions give the same bytes. The compiled step is compared with
    torch's in float64 before anything is written.

    Args:
        module: Maps ``(batch, *input_shape)`` to ``(batch, classes)``, or with another loss than
            ``cross_entropy`` to ``(batch, outputs, ...)``; its parameters and running statistics as
            they are become the artefact's initial ones. It is left unchanged.
        name: What to call the artefact.
        input_shape: Shape of one example.
        labels: Names of the classes, or of the outputs: what lies along the output's second axis.
        batch: Rows of a training batch, fixed in the graph; ``>= 1``.
        out: Directory to write, made if need be; ``None`` writes nothing.
        input_dtype: ``float32``, or ``int64`` for numbers that name something, such as words.
        vocabulary: With int64 inputs, how many there are: they run from 0 to ``vocabulary - 1``.
        evaluate_batch: Rows of an evaluation batch, ``>= 1``.
        loss: ``cross_entropy``, ``mse`` or ``bce``; see ``fedtier.artefact.loss.Loss``.
        smoothing: Label smoothing of the training loss, in ``[0, 1)``; ``cross_entropy`` alone.
        momentum: Share of the last step's direction kept in this one's, in ``[0, 1)``.
        nesterov: Whether to look ahead along the momentum.
        weight_decay: Pull towards zero, in ``[0, 1)``.
        prox: Pull towards the model an iteration starts from, in ``[0, 1000)``; of FedProx.
        correction: Whether the step takes a vector that is added to the gradient.
        lowering: How convolutions are computed: ``conv``, ``taps`` or ``gemm``; or several with
            commas, which gives a training graph for each. The first is that of plans that name
            none, and of evaluation.
        preprocessing: Named transforms from recordings to examples, as JSON data.
        augmentation: Named transforms of a batch, as JSON data; of float32 inputs alone.
        microbatch: Rows of a part of a batch, a divisor of ``batch``: devices whose memory a whole
            batch exceeds sum gradients over such parts. For models in which a row's loss depends on
            that row alone, without dropout, and for plain steps.

    Raises:
        ConfigError: If an argument is out of range, an operation cannot be compiled, or the
            step is off.
    """
    _check_batches(batch=batch, evaluated=evaluate_batch)
    lowerings = _lowerings(lowering)
    _check_input(input_dtype, vocabulary, augmented=bool(augmentation))
    trained = Loss(kind=loss, smoothing=smoothing)
    optimiser = Optimiser(
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        prox=prox,
        correction=correction,
    )
    tensors = tensors_of(module)
    x = torch.full((batch, *input_shape), (vocabulary or 1) - 1, dtype=getattr(torch, input_dtype))
    source = Source(
        module=module,
        tensors=tensors,
        input_shape=tuple(input_shape),
        input_dtype=input_dtype,
        output_shape=_output_shape(module, x, labels=labels, loss=trained),
        loss=trained,
        lowering=lowerings[0],
    )
    masks = find_masks(module, x)
    _check_microbatch(microbatch, batch=batch, optimiser=optimiser, tensors=tensors, masks=masks)
    manifest = ArtefactManifest(
        name=name,
        layout=source.layout,
        parameters=tensors.parameter_count,
        batch=batch,
        evaluate_batch=evaluate_batch,
        input_shape=source.input_shape,
        input_dtype=input_dtype,
        vocabulary=vocabulary,
        labels=tuple(labels),
        loss=trained,
        target_shape=source.target_shape,
        optimiser=optimiser,
        masks=masks,
        lowerings=lowerings,
        microbatch=microbatch,
        preprocessing=tuple(preprocessing),
        augmentation=tuple(augmentation),
        opset=OPSET,
        producer={package: _version(package) for package in _PRODUCERS},
        files={},
    )
    files = {
        EVALUATE_FILE: build_evaluate(source, batch=evaluate_batch),
        INFER_FILE: build_infer(source),
        INITIAL_FILE: _initial(source),
        **_training_graphs(source, manifest),
    }
    digests = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    artefact = Artefact.verify(replace(manifest, files=digests), files, where=name)
    gates = [check_gradient(module, artefact, lowering=each) for each in lowerings]
    if microbatch is not None:
        for each in lowerings:
            check_parts(artefact, lowering=each)
    if out is not None:
        artefact.write(out)
    return Compiled(
        artefact=artefact,
        gate=max(gates, key=lambda gate: gate.gradient),
        warnings=_squashed_twice(module, source.zeros(1), trained),
    )


def _squashed_twice(module: nn.Module, x: torch.Tensor, loss: Loss) -> tuple[str, ...]:
    """The warning that the output is squashed already as the loss will squash it."""
    squash = {"cross_entropy": "softmax", "bce": "sigmoid"}.get(loss.kind)
    if squash is None or last_operation(module, x) != squash:
        return ()
    return (
        f"the module's output is that of {squash}, and the loss {loss.kind} applies {squash} "
        f"itself: twice, it trains slowly. Return what goes into {squash} instead.",
    )


def layout_of(module: nn.Module) -> ParameterLayout:
    """Names and shapes of a module's parameters in its own order, then of its statistics."""
    return tensors_of(module).layout


def _training_graphs(source: Source, manifest: ArtefactManifest) -> dict[str, bytes]:
    """The graphs of every lowering, by the names that they have in the artefact.

    Raises:
        ConfigError: If two lowerings are one and the same for this model.
    """
    files: dict[str, bytes] = {}
    same: dict[bytes, str] = {}
    for lowering in manifest.lowerings:
        lowered = replace(source, lowering=lowering)
        graph = build_train(
            lowered, batch=manifest.batch, masks=manifest.masks, optimiser=manifest.optimiser
        )
        other = same.setdefault(graph, lowering)
        if other != lowering:
            raise ConfigError(
                f"lowering {lowering!r} makes of {manifest.name} the same graph as {other!r}. "
                "Leave one of them out."
            )
        files[manifest.train_file(lowering)] = graph
        gradient = manifest.gradient_file(lowering)
        if gradient is not None and manifest.microbatch is not None:
            files[gradient] = build_gradient(lowered, rows=manifest.microbatch)
    return files


def _initial(source: Source) -> bytes:
    tensors = {**source.tensors.parameters, **source.tensors.statistics}
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return source.layout.flatten(arrays).astype("<f4").tobytes()


def _version(package: str) -> str:
    # "2.13.0+cpu" and "2.13.0" compile alike: which wheel it was says something of this machine.
    return importlib.metadata.version(package).split("+")[0]


def _lowerings(text: str) -> tuple[str, ...]:
    """One lowering, or several with commas."""
    names = tuple(name.strip() for name in text.split(","))
    for place, name in enumerate(names):
        if name not in LOWERING_NAMES:
            raise ConfigError(
                f"lowering {name!r} is unknown. Use one of {', '.join(LOWERING_NAMES)}, or several "
                "with commas."
            )
        if name in names[:place]:
            raise ConfigError(f"lowering = {text!r} names {name} twice. Name each once.")
    return names


def _check_batches(*, batch: int, evaluated: int) -> None:
    if batch < 1 or evaluated < 1:
        raise ConfigError(f"batch = {batch}, evaluate_batch = {evaluated}: both must be >= 1.")


def _check_microbatch(
    microbatch: int | None,
    *,
    batch: int,
    optimiser: Optimiser,
    tensors: ModuleTensors,
    masks: Sequence[Mask],
) -> None:
    if microbatch is None:
        return
    if microbatch < 1 or batch % microbatch:
        divisors = [n for n in range(1, batch) if batch % n == 0]
        raise ConfigError(
            f"microbatch = {microbatch} does not divide batch = {batch}. Use one of "
            f"{', '.join(map(str, divisors))}."
        )
    hindrances = {
        "an optimiser other than plain descent": optimiser != Optimiser(),
        "dropout": bool(masks),
        "running statistics": bool(tensors.statistics),
    }
    found = [what for what, there in hindrances.items() if there]
    if found:
        raise ConfigError(
            f"microbatch = {microbatch}: a step by parts is not the whole one with "
            f"{' and '.join(found)}. Leave microbatch out, or these."
        )


def _check_input(dtype: InputDtype, vocabulary: int | None, *, augmented: bool) -> None:
    if dtype not in INPUT_DTYPES:
        raise ConfigError(
            f"input_dtype {dtype!r} is unknown. Use one of {', '.join(INPUT_DTYPES)}."
        )
    if dtype == "float32" and vocabulary is not None:
        raise ConfigError(
            f"vocabulary = {vocabulary} goes with input_dtype = 'int64', not with float32. "
            "Leave it out."
        )
    if dtype == "int64" and (vocabulary is None or vocabulary < 1):
        raise ConfigError(
            f"vocabulary = {vocabulary}: with int64 inputs say how many different ones there are, "
            ">= 1, such as the rows of the embedding."
        )
    if dtype == "int64" and augmented:
        raise ConfigError("augmentation changes float32 inputs, and these are int64. Leave it out.")


def _output_shape(
    module: nn.Module, x: torch.Tensor, *, labels: Sequence[str], loss: Loss
) -> tuple[int, ...]:
    """The shape of one example's output; refuses one that labels and loss do not fit."""
    shape = tuple(x.shape)
    try:
        with in_mode(module, training=False), torch.no_grad():
            outputs = module(x)
    except MISTAKES as error:
        if isinstance(error, IndexError) and x.dtype == torch.int64:
            raise ConfigError(
                f"the module does not take inputs of {x.max()}, the vocabulary's last ({error}). "
                "Give the number of rows of its embedding as vocabulary."
            ) from error
        raise ConfigError(
            f"the module does not take inputs of shape {shape}: {told(error)}."
        ) from error
    if not isinstance(outputs, torch.Tensor):
        raise ConfigError(
            f"the module's output is a {type(outputs).__name__}. Let forward return one tensor "
            f"of shape {(shape[0], len(labels))}."
        )
    found, wanted = tuple(outputs.shape), (shape[0], len(labels))
    fits = found == wanted if loss.of_classes else found[:2] == wanted
    if not fits:
        what = "classes" if loss.of_classes else "outputs along its second axis"
        raise ConfigError(
            f"the module's output has shape {found}, the labels ask for {wanted}. "
            f"Give as many labels as the module has {what}."
        )
    return found[1:]
