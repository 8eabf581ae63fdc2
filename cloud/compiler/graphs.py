"""The graphs of an artefact, from a torch module."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.lower import decompositions, lower
from cloud.compiler.serialize import serialize
from cloud.compiler.trace import trace_forward, trace_training
from cloud.compiler.value import Value
from fedtier.model.layout import ParameterLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A module and the sizes its graphs are made for."""

    module: nn.Module
    layout: ParameterLayout
    input_shape: tuple[int, ...]  # of one example
    classes: int
    lowering: str


def build_train(source: Source, *, batch: int, smoothing: float) -> bytes:
    """One step of gradient descent: ``w, x, y, mu -> loss, w_next = w - mu gradient``."""
    graph = GraphBuilder(lowering=source.lowering)
    w, x, y = _training_inputs(source, graph, rows=batch)
    mu = graph.input("mu", (), "float32")
    loss, gradient = _loss_and_gradient(source, graph, w, x, y, smoothing=smoothing)
    w_next = graph.binary("Sub", w, graph.binary("Mul", gradient, mu))
    return serialize(graph, name="train", outputs={"loss": loss, "w_next": w_next})


def build_gradient(source: Source, *, rows: int, smoothing: float) -> bytes:
    """Part of a batch: ``w, x, y -> loss_sum, gradient_sum``, the sums over its rows."""
    graph = GraphBuilder(lowering=source.lowering)
    w, x, y = _training_inputs(source, graph, rows=rows)
    loss, gradient = _loss_and_gradient(source, graph, w, x, y, smoothing=smoothing)
    sums = {
        "loss_sum": graph.binary("Mul", loss, float(rows)),
        "gradient_sum": graph.binary("Mul", gradient, float(rows)),
    }
    return serialize(graph, name="gradient", outputs=sums)


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


def _training_inputs(source: Source, graph: GraphBuilder, *, rows: int) -> tuple[Value, ...]:
    return (
        graph.input("w", (source.layout.dimension,), "float32"),
        graph.input("x", (rows, *source.input_shape), "float32"),
        graph.input("y", (rows,), "int64"),
    )


def _loss_and_gradient(
    source: Source, graph: GraphBuilder, w: Value, x: Value, y: Value, *, smoothing: float
) -> tuple[Value, Value]:
    """The mean loss of the rows, and its gradient as one vector."""
    trace = trace_training(
        source.module,
        torch.zeros(x.shape),
        torch.zeros(y.shape, dtype=torch.int64),
        smoothing=smoothing,
        decompositions=decompositions(),
    )
    loss, *gradients = lower(graph, trace, [*_tensors(graph, w, source.layout), x, y])
    flat = [graph.reshape(gradient, (gradient.size,)) for gradient in gradients]
    return loss, graph.concat(flat, 0)


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
