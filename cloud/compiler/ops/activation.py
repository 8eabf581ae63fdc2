"""Nonlinear functions of single elements, and how a slope passes back through them."""

from __future__ import annotations

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.registry import lowers
from cloud.compiler.value import Value


@lowers("relu.default", "relu_.default")
def relu(graph: GraphBuilder, x: Value) -> Value:
    """``max(x, 0)``."""
    return graph.unary("Relu", x)


@lowers("threshold_backward.default")
def threshold_backward(graph: GraphBuilder, slope: Value, result: Value, threshold: float) -> Value:
    """The slope where the result exceeds the threshold, else 0.

    A product with a mask, since onnxruntime's ``Where`` takes five times as long.
    """
    mask = graph.binary("Greater", result, float(threshold), "bool")
    return graph.binary("Mul", slope, graph.unary("Cast", mask, "float32", to=1))


@lowers("tanh.default")
def tanh(graph: GraphBuilder, x: Value) -> Value:
    """Hyperbolic tangent."""
    return graph.unary("Tanh", x)


@lowers("tanh_backward.default")
def tanh_backward(graph: GraphBuilder, slope: Value, result: Value) -> Value:
    """``slope (1 - tanh^2)``."""
    square = graph.binary("Mul", result, result)
    return graph.binary("Mul", slope, graph.binary("Sub", 1.0, square))


@lowers("sigmoid.default")
def sigmoid(graph: GraphBuilder, x: Value) -> Value:
    """``1 / (1 + exp(-x))``."""
    return graph.unary("Sigmoid", x)


@lowers("sigmoid_backward.default")
def sigmoid_backward(graph: GraphBuilder, slope: Value, result: Value) -> Value:
    """``slope s (1 - s)`` with ``s`` the sigmoid."""
    rest = graph.binary("Sub", 1.0, result)
    return graph.binary("Mul", slope, graph.binary("Mul", result, rest))
