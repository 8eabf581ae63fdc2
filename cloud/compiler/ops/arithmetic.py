"""Plain arithmetic on elements, with broadcasting."""

from __future__ import annotations

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.ops.conversion import cast, promoted
from cloud.compiler.registry import lowers
from cloud.compiler.value import Value

Operand = Value | float | int


@lowers("add.Tensor", "add.Scalar")
def add(graph: GraphBuilder, a: Operand, b: Operand, alpha: float = 1) -> Value:
    """``a + alpha b``."""
    return graph.binary("Add", *promoted(graph, a, _scaled(graph, b, alpha)))


@lowers("rsub.Scalar")
def subtract_from(graph: GraphBuilder, a: Value, b: float, alpha: float = 1) -> Value:
    """``b - alpha a``."""
    return subtract(graph, b, a, alpha)


@lowers("sub.Tensor", "sub.Scalar")
def subtract(graph: GraphBuilder, a: Operand, b: Operand, alpha: float = 1) -> Value:
    """``a - alpha b``."""
    return graph.binary("Sub", *promoted(graph, a, _scaled(graph, b, alpha)))


@lowers("mul.Tensor", "mul.Scalar")
def multiply(graph: GraphBuilder, a: Operand, b: Operand) -> Value:
    """``a b``."""
    return graph.binary("Mul", *promoted(graph, a, b))


@lowers("div.Tensor", "div.Scalar")
def divide(graph: GraphBuilder, a: Operand, b: Operand) -> Value:
    """``a / b`` in float32; by a number, one product with its inverse."""
    a, b = (cast(graph, x, "float32") if isinstance(x, Value) else float(x) for x in (a, b))
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


@lowers("expm1.default")
def exponential_minus_one(graph: GraphBuilder, x: Value) -> Value:
    """``e^x - 1``, near 0 as exact as the subtraction."""
    return graph.binary("Sub", graph.unary("Exp", x), 1.0)


@lowers("log1p.default")
def logarithm_of_one_plus(graph: GraphBuilder, x: Value) -> Value:
    """``log(1 + x)``, near 0 as exact as the addition."""
    return graph.unary("Log", graph.binary("Add", x, 1.0))


@lowers("abs.default")
def magnitude(graph: GraphBuilder, x: Value) -> Value:
    """``|x|``."""
    return graph.unary("Abs", x)


@lowers("sign.default", "sgn.default")
def sign(graph: GraphBuilder, x: Value) -> Value:
    """-1, 0 or 1."""
    return graph.unary("Sign", x)


@lowers("reciprocal.default")
def reciprocal(graph: GraphBuilder, x: Value) -> Value:
    """``1 / x``."""
    return graph.unary("Reciprocal", x)


@lowers("sin.default")
def sine(graph: GraphBuilder, x: Value) -> Value:
    """The sine, of which positional encodings are made."""
    return graph.unary("Sin", x)


@lowers("cos.default")
def cosine(graph: GraphBuilder, x: Value) -> Value:
    """The cosine."""
    return graph.unary("Cos", x)


@lowers("maximum.default")
def larger(graph: GraphBuilder, a: Operand, b: Operand) -> Value:
    """The larger of two."""
    return graph.binary("Max", *promoted(graph, a, b))


@lowers("minimum.default")
def smaller(graph: GraphBuilder, a: Operand, b: Operand) -> Value:
    """The smaller of two."""
    return graph.binary("Min", *promoted(graph, a, b))


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
    """``x ** exponent``; small whole exponents and square roots by simpler operations."""
    if exponent == 0.5:
        return square_root(graph, x)
    if exponent == -0.5:
        return inverse_square_root(graph, x)
    if exponent == -1:
        return reciprocal(graph, x)
    if exponent == 2:
        return graph.binary("Mul", x, x)
    if exponent == 3:
        return graph.binary("Mul", graph.binary("Mul", x, x), x)
    return graph.binary("Pow", x, float(exponent))


@lowers(
    "alias.default",
    "clone.default",
    "contiguous.default",
    "detach.default",
    "lift_fresh_copy.default",
)
def same(graph: GraphBuilder, x: Value, memory_format: object = None) -> Value:
    """The tensor itself: values in a graph are never overwritten."""
    return x


@lowers("copy.default")
def overwrite(graph: GraphBuilder, x: Value, source: Value, non_blocking: bool = False) -> Value:
    """The source in the shape and type of what it overwrites."""
    return graph.expand(cast(graph, source, x.dtype), x.shape)


def _scaled(graph: GraphBuilder, b: Operand, alpha: float) -> Operand:
    if alpha == 1:
        return b
    return graph.binary("Mul", b, alpha) if isinstance(b, Value) else b * alpha
