"""Sums, means and maxima over axes."""

from __future__ import annotations

from collections.abc import Sequence

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.ops.conversion import cast
from cloud.compiler.registry import lowers
from cloud.compiler.value import Value, normal_axis


@lowers("sum.dim_IntList", "sum.default")
def total(
    graph: GraphBuilder,
    x: Value,
    axes: Sequence[int] | None = None,
    keep: bool = False,
    dtype: object = None,
) -> Value:
    """Sum over the axes, over all of them if none is named."""
    if x.dtype == "bool":
        x = cast(graph, x, "int64")
    return graph.reduce("ReduceSum", x, axes or range(x.rank), keep=keep)


@lowers("mean.dim", "mean.default")
def mean(
    graph: GraphBuilder,
    x: Value,
    axes: Sequence[int] | None = None,
    keep: bool = False,
    dtype: object = None,
) -> Value:
    """Mean over the axes, over all of them if none is named."""
    return graph.reduce("ReduceMean", x, axes or range(x.rank), keep=keep)


@lowers("amax.default")
def maximum(graph: GraphBuilder, x: Value, axes: Sequence[int] = (), keep: bool = False) -> Value:
    """Largest element along the axes."""
    return graph.reduce("ReduceMax", x, axes or range(x.rank), keep=keep)


@lowers("amin.default")
def minimum(graph: GraphBuilder, x: Value, axes: Sequence[int] = (), keep: bool = False) -> Value:
    """Smallest element along the axes."""
    return graph.reduce("ReduceMin", x, axes or range(x.rank), keep=keep)


@lowers("max.dim")
def maximum_and_place(
    graph: GraphBuilder, x: Value, axis: int, keep: bool = False
) -> tuple[Value, Value]:
    """Largest element along an axis, and the first place of it."""
    return graph.reduce("ReduceMax", x, [axis], keep=keep), _place(graph, "ArgMax", x, axis, keep)


@lowers("min.dim")
def minimum_and_place(
    graph: GraphBuilder, x: Value, axis: int, keep: bool = False
) -> tuple[Value, Value]:
    """Smallest element along an axis, and the first place of it."""
    return graph.reduce("ReduceMin", x, [axis], keep=keep), _place(graph, "ArgMin", x, axis, keep)


def _place(graph: GraphBuilder, op: str, x: Value, axis: int, keep: bool) -> Value:
    axis = normal_axis(axis, x.rank)
    kept = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    place = graph.one(op, [x], kept, "int64", axis=axis, keepdims=1)
    return place if keep else graph.reshape(place, x.shape[:axis] + x.shape[axis + 1 :])
