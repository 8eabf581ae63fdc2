"""Plain arithmetic on elements, with broadcasting."""

from __future__ import annotations

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.registry import UnsupportedError, lowers
from cloud.compiler.value import Value

Operand = Value | float | int


@lowers("add.Tensor", "add.Scalar", "add_.Tensor")
def add(graph: GraphBuilder, a: Operand, b: Operand, alpha: float = 1) -> Value:
    """``a + alpha b``."""
    return graph.binary("Add", a, _scaled(graph, b, alpha))


@lowers("rsub.Scalar")
def subtract_from(graph: GraphBuilder, a: Value, b: float, alpha: float = 1) -> Value:
    """``b - alpha a``."""
    return subtract(graph, b, a, alpha)


@lowers("sub.Tensor", "sub.Scalar")
def subtract(graph: GraphBuilder, a: Operand, b: Operand, alpha: float = 1) -> Value:
    """``a - alpha b``."""
    return graph.binary("Sub", a, _scaled(graph, b, alpha))


@lowers("mul.Tensor", "mul.Scalar")
def multiply(graph: GraphBuilder, a: Operand, b: Operand) -> Value:
    """``a b``."""
    return graph.binary("Mul", a, b)


@lowers("div.Tensor", "div.Scalar")
def divide(graph: GraphBuilder, a: Operand, b: Operand) -> Value:
    """``a / b`` of floats; by a number, one product with its inverse."""
    for operand in (a, b):
        if isinstance(operand, Value) and operand.dtype != "float32":
            raise UnsupportedError(f"division of {operand.dtype} is not compiled")
    if isinstance(b, Value):
        return graph.binary("Div", a, b)
    return graph.binary("Mul", a, 1.0 / b)


@lowers("neg.default")
def negate(graph: GraphBuilder, x: Value) -> Value:
    """``-x``."""
    return graph.unary("Neg", x)


@lowers("exp.default")
def exponential(graph: GraphBuilder, x: Value) -> Value:
    """``e^x``."""
    return graph.unary("Exp", x)


@lowers("log.default")
def logarithm(graph: GraphBuilder, x: Value) -> Value:
    """The natural logarithm."""
    return graph.unary("Log", x)


@lowers("sqrt.default")
def square_root(graph: GraphBuilder, x: Value) -> Value:
    """The square root."""
    return graph.unary("Sqrt", x)


@lowers("rsqrt.default")
def inverse_square_root(graph: GraphBuilder, x: Value) -> Value:
    """``1 / sqrt(x)``."""
    return graph.unary("Reciprocal", graph.unary("Sqrt", x))


@lowers("erf.default")
def error_function(graph: GraphBuilder, x: Value) -> Value:
    """The error function, which the exact GELU is made of."""
    return graph.unary("Erf", x)


@lowers("pow.Tensor_Scalar")
def power(graph: GraphBuilder, x: Value, exponent: float) -> Value:
    """``x ** exponent``; small whole exponents by multiplication."""
    if exponent == 2:
        return graph.binary("Mul", x, x)
    if exponent == 3:
        return graph.binary("Mul", graph.binary("Mul", x, x), x)
    return graph.binary("Pow", x, float(exponent))


@lowers("detach.default", "alias.default", "clone.default", "lift_fresh_copy.default")
def same(graph: GraphBuilder, x: Value, memory_format: object = None) -> Value:
    """The tensor itself: values in a graph are never overwritten."""
    return x


def _scaled(graph: GraphBuilder, b: Operand, alpha: float) -> Operand:
    if alpha == 1:
        return b
    return graph.binary("Mul", b, alpha) if isinstance(b, Value) else b * alpha
