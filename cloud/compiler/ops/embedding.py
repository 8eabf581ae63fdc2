"""Rows of a table, picked by whole numbers."""

from __future__ import annotations

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.ops.conversion import cast
from cloud.compiler.registry import UnsupportedError, lowers
from cloud.compiler.value import Value


@lowers("embedding.default")
def embedding(
    graph: GraphBuilder,
    table: Value,
    numbers: Value,
    padding: int = -1,
    scale_by_count: bool = False,
    sparse: bool = False,
) -> Value:
    """``table[numbers]``; what pads is a row like any other, but is not trained."""
    shape = (*numbers.shape, table.shape[1])
    return graph.one("Gather", [table, numbers], shape, table.dtype, axis=0)


@lowers("embedding_dense_backward.default")
def embedding_backward(
    graph: GraphBuilder,
    slope: Value,
    numbers: Value,
    rows: int,
    padding: int,
    scale_by_count: bool,
) -> Value:
    """A row's slope is the sum of the slopes of all places that picked it."""
    if scale_by_count:
        raise UnsupportedError("scale_grad_by_freq=True is not compiled; leave it out")
    width = slope.shape[-1]
    if padding >= 0:
        kept = graph.binary("Equal", numbers, padding, "bool")
        kept = cast(graph, graph.unary("Not", kept), "float32")
        slope = graph.binary("Mul", slope, graph.reshape(kept, (*numbers.shape, 1)))
    zeros = graph.expand(graph.constant(0.0, "float32"), (rows, width))
    places = graph.reshape(numbers, (numbers.size, 1))
    updates = graph.reshape(slope, (numbers.size, width))
    return graph.one("ScatterND", [zeros, places, updates], (rows, width), reduction="add")
