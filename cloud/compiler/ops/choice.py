"""Comparisons, truth values, and choices between elements by them."""

from __future__ import annotations

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.ops.conversion import cast, promoted
from cloud.compiler.registry import lowers
from cloud.compiler.value import Value

Operand = Value | float | int


@lowers("eq.Tensor", "eq.Scalar")
def equal(graph: GraphBuilder, a: Value, b: Operand) -> Value:
    """Where ``a`` equals ``b``."""
    return graph.binary("Equal", *promoted(graph, a, b), "bool")


@lowers("ne.Tensor", "ne.Scalar")
def unequal(graph: GraphBuilder, a: Value, b: Operand) -> Value:
    """Where ``a`` differs from ``b``."""
    return negate(graph, equal(graph, a, b))


@lowers("gt.Tensor", "gt.Scalar")
def greater(graph: GraphBuilder, a: Value, b: Operand) -> Value:
    """Where ``a > b``."""
    return graph.binary("Greater", *promoted(graph, a, b), "bool")


@lowers("ge.Tensor", "ge.Scalar")
def greater_or_equal(graph: GraphBuilder, a: Value, b: Operand) -> Value:
    """Where ``a >= b``."""
    return graph.binary("GreaterOrEqual", *promoted(graph, a, b), "bool")


@lowers("lt.Tensor", "lt.Scalar")
def less(graph: GraphBuilder, a: Value, b: Operand) -> Value:
    """Where ``a < b``."""
    return graph.binary("Less", *promoted(graph, a, b), "bool")


@lowers("le.Tensor", "le.Scalar")
def less_or_equal(graph: GraphBuilder, a: Value, b: Operand) -> Value:
    """Where ``a <= b``."""
    return graph.binary("LessOrEqual", *promoted(graph, a, b), "bool")


@lowers("logical_and.default", "bitwise_and.Tensor")
def both(graph: GraphBuilder, a: Value, b: Value) -> Value:
    """Where both are true."""
    return graph.binary("And", cast(graph, a, "bool"), cast(graph, b, "bool"))


@lowers("logical_or.default", "bitwise_or.Tensor")
def either(graph: GraphBuilder, a: Value, b: Value) -> Value:
    """Where one or both are true."""
    return graph.binary("Or", cast(graph, a, "bool"), cast(graph, b, "bool"))


@lowers("logical_not.default", "bitwise_not.default")
def negate(graph: GraphBuilder, x: Value) -> Value:
    """Where ``x`` is false."""
    return graph.unary("Not", cast(graph, x, "bool"))


@lowers("any.dim", "any.dims", "any.default")
def any_of(
    graph: GraphBuilder, x: Value, axes: int | list[int] | None = None, keep: bool = False
) -> Value:
    """Whether one element along the axes is true."""
    which = [axes] if isinstance(axes, int) else axes or range(x.rank)
    count = graph.reduce("ReduceMax", cast(graph, x, "float32"), which, keep=keep)
    return graph.binary("Greater", count, 0.0, "bool")


@lowers("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def choose(graph: GraphBuilder, mask: Value, a: Operand, b: Operand) -> Value:
    """``a`` where the mask is true, else ``b``."""
    return graph.where(mask, *promoted(graph, a, b))


@lowers("masked_fill.Scalar", "masked_fill.Tensor")
def fill_where(graph: GraphBuilder, x: Value, mask: Value, content: Operand) -> Value:
    """``content`` where the mask is true, else ``x``."""
    if isinstance(content, Value):
        content = cast(graph, content, x.dtype)
    return graph.where(mask, content, x)
