"""The three graphs of an artefact, from a torch module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.lower import decompositions, lower
from cloud.compiler.optimise import optimise
from cloud.compiler.serialize import serialize
from cloud.compiler.trace import trace_forward, trace_training
from cloud.compiler.value import Value
from fedtier.artefact.loss import Loss
from fedtier.artefact.masks import Mask
from fedtier.artefact.optimiser import Optimiser
from fedtier.model.layout import ParameterLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A module and the sizes its graphs are made for."""

    module: nn.Module
    layout: ParameterLayout
    input_shape: tuple[int, ...]  # of one example
    output_shape: tuple[int, ...]  # of one example
    loss: Loss
    lowering: str

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Of one example."""
        return () if self.loss.of_classes else self.output_shape


def build_train(
    source: Source, *, batch: int, masks: Sequence[Mask], optimiser: Optimiser
) -> bytes:
    """One step of gradient descent: ``w, x, y, mu -> loss, w_next``.

    Masks and the optimiser's vectors follow as inputs; with momentum ``velocity_next`` is an
    output, too.
    """
    targets = (batch, *source.target_shape)
    trace = trace_training(
        source.module,
        torch.zeros(batch, *source.input_shape),
        torch.zeros(targets, dtype=getattr(torch, source.loss.target_dtype)),
        masks=masks,
        loss=source.loss,
        decompositions=decompositions(),
    )
    graph = GraphBuilder(lowering=source.lowering)
    w = graph.input("w", (source.layout.dimension,), "float32")
    x = graph.input("x", (batch, *source.input_shape), "float32")
    y = graph.input("y", targets, source.loss.target_dtype)
    mu = graph.input("mu", (), "float32")
    given = [graph.input(mask.name, mask.shape, "float32") for mask in masks]
    loss, *gradients = lower(graph, trace, [*_tensors(graph, w, source.layout), x, y, *given])
    flat = [graph.reshape(gradient, (gradient.size,)) for gradient in gradients]
    moved = optimise(graph, optimiser, w=w, gradient=graph.concat(flat, 0), mu=mu)
    return serialize(graph, name="train", outputs={"loss": loss, **moved})


def build_evaluate(source: Source, *, batch: int) -> bytes:
    """The logits of a batch: ``w, x -> logits``."""
    graph = GraphBuilder(lowering=source.lowering)
    w = graph.input("w", (source.layout.dimension,), "float32")
    logits = _forward(source, graph, _tensors(graph, w, source.layout), batch=batch)
    return serialize(graph, name="evaluate", outputs={"logits": logits})


def build_infer(source: Source) -> bytes:
    """The logits of one example, the parameters in a file beside the graph: ``x -> logits``."""
    graph = GraphBuilder(lowering=source.lowering)
    tensors = source.layout.tensors
    parameters = [graph.input(tensor.name, tensor.shape, "float32") for tensor in tensors]
    logits = _forward(source, graph, parameters, batch=1)
    return serialize(graph, name="infer", outputs={"logits": logits}, external=source.layout)


def _forward(source: Source, graph: GraphBuilder, parameters: list[Value], *, batch: int) -> Value:
    x = graph.input("x", (batch, *source.input_shape), "float32")
    trace = trace_forward(
        source.module, torch.zeros(batch, *source.input_shape), decompositions=decompositions()
    )
    (logits,) = lower(graph, trace, [*parameters, x])
    return logits


def _tensors(graph: GraphBuilder, w: Value, layout: ParameterLayout) -> list[Value]:
    """The parameters as parts of the flat vector, reshaped."""
    parts = graph.split(w, [tensor.size for tensor in layout.tensors], 0)
    return [
        graph.reshape(part, tensor.shape)
        for part, tensor in zip(parts, layout.tensors, strict=True)
    ]
