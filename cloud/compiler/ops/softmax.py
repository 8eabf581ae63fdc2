"""Shares that add up to one along an axis, and their logarithms."""

from __future__ import annotations

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.registry import lowers
from cloud.compiler.value import Value


@lowers("_log_softmax.default")
def log_softmax(graph: GraphBuilder, x: Value, axis: int, half_to_float: bool) -> Value:
    """``x - log sum exp x`` along an axis."""
    return graph.unary("LogSoftmax", x, axis=axis % x.rank)


@lowers("_softmax.default")
def softmax(graph: GraphBuilder, x: Value, axis: int, half_to_float: bool) -> Value:
    """``exp x / sum exp x`` along an axis."""
    return graph.unary("Softmax", x, axis=axis % x.rank)


@lowers("_safe_softmax.default")
def safe_softmax(graph: GraphBuilder, x: Value, axis: int, dtype: object = None) -> Value:
    """The same, and 0 for a row that a mask has set to minus infinity as a whole."""
    largest = graph.reduce("ReduceMax", x, [axis], keep=True)
    alive = graph.binary("Greater", largest, float("-inf"), "bool")
    return graph.where(alive, softmax(graph, x, axis, False), 0.0)
