"""The graphs of an artefact, from a torch module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.lower import constant_of, decompositions, lower
from cloud.compiler.optimise import optimise
from cloud.compiler.serialize import serialize
from cloud.compiler.tensors import ModuleTensors
from cloud.compiler.trace import trace_forward, trace_training
from cloud.compiler.value import Value
from fedtier.artefact.loss import Loss
from fedtier.artefact.manifest import InputDtype
from fedtier.artefact.masks import Mask
from fedtier.artefact.optimiser import Optimiser
from fedtier.model.layout import ParameterLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A module and the sizes its graphs are made for."""

    module: nn.Module
    tensors: ModuleTensors
    input_shape: tuple[int, ...]  # of one example
    input_dtype: InputDtype
    output_shape: tuple[int, ...]  # of one example
    loss: Loss
    lowering: str

    @property
    def layout(self) -> ParameterLayout:
        """The flat vector: parameters, then statistics."""
        return self.tensors.layout

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Of one example."""
        return () if self.loss.of_classes else self.output_shape

    def zeros(self, batch: int) -> torch.Tensor:
        """A batch as the module takes it."""
        return torch.zeros(batch, *self.input_shape, dtype=getattr(torch, self.input_dtype))


def build_train(
    source: Source, *, batch: int, masks: Sequence[Mask], optimiser: Optimiser
) -> bytes:
    """One step of gradient descent: ``w, x, y, mu -> loss, w_next``.

    Masks and the optimiser's vectors follow as inputs; with momentum ``velocity_next`` is an
    output, too. Statistics are no parameters: ``w_next`` has them as this batch leaves them.
    """
    graph = GraphBuilder(lowering=source.lowering)
    w, x, y = _training_inputs(source, graph, rows=batch)
    mu = graph.input("mu", (), "float32")
    loss, gradient, statistics = _loss_and_gradient(source, graph, (w, x, y), masks=masks)
    parameters = graph.slice(w, 0, 0, gradient.size)
    moved = optimise(graph, optimiser, w=parameters, gradient=gradient, mu=mu)
    w_next = graph.concat([moved.pop("w_next"), *statistics], 0)
    return serialize(graph, name="train", outputs={"loss": loss, "w_next": w_next, **moved})


def build_gradient(source: Source, *, rows: int) -> bytes:
    """Part of a batch: ``w, x, y -> loss_sum, gradient_sum``, the sums over its rows."""
    graph = GraphBuilder(lowering=source.lowering)
    w, x, y = _training_inputs(source, graph, rows=rows)
    loss, gradient, _ = _loss_and_gradient(source, graph, (w, x, y), masks=())
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


_Inputs = tuple[Value, Value, Value]  # the flat vector, a batch, its targets


def _training_inputs(source: Source, graph: GraphBuilder, *, rows: int) -> _Inputs:
    return (
        graph.input("w", (source.layout.dimension,), "float32"),
        graph.input("x", (rows, *source.input_shape), source.input_dtype),
        graph.input("y", (rows, *source.target_shape), source.loss.target_dtype),
    )


def _loss_and_gradient(
    source: Source, graph: GraphBuilder, inputs: _Inputs, *, masks: Sequence[Mask]
) -> tuple[Value, Value, list[Value]]:
    """The mean loss of the rows, its gradient as one vector, and the statistics after them."""
    w, x, y = inputs
    trace = trace_training(
        source.module,
        source.zeros(x.shape[0]),
        torch.zeros(y.shape, dtype=getattr(torch, source.loss.target_dtype)),
        masks=masks,
        loss=source.loss,
        decompositions=decompositions(),
    )
    given = [graph.input(mask.name, mask.shape, "float32") for mask in masks]
    tensors = [*_tensors(graph, w, source.layout), *_constants(source, graph)]
    loss, *results = lower(graph, trace, [*tensors, x, y, *given])
    flat = [graph.reshape(result, (result.size,)) for result in results]
    trained = len(source.tensors.parameters)
    return loss, graph.concat(flat[:trained], 0), flat[trained:]


def _forward(source: Source, graph: GraphBuilder, parameters: list[Value], *, batch: int) -> Value:
    x = graph.input("x", (batch, *source.input_shape), source.input_dtype)
    trace = trace_forward(source.module, source.zeros(batch), decompositions=decompositions())
    (logits,) = lower(graph, trace, [*parameters, *_constants(source, graph), x])
    return logits


def _constants(source: Source, graph: GraphBuilder) -> list[Value]:
    return [constant_of(graph, tensor) for tensor in source.tensors.constants.values()]


def _tensors(graph: GraphBuilder, w: Value, layout: ParameterLayout) -> list[Value]:
    """Parameters and statistics as parts of the flat vector, reshaped."""
    parts = graph.split(w, [tensor.size for tensor in layout.tensors], 0)
    return [
        graph.reshape(part, tensor.shape)
        for part, tensor in zip(parts, layout.tensors, strict=True)
    ]
