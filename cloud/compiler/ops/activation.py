"""Nonlinear functions of single elements, and how a slope passes back through them."""

from __future__ import annotations

import math

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.registry import UnsupportedError, lowers
from cloud.compiler.value import Value


@lowers("relu.default")
def relu(graph: GraphBuilder, x: Value) -> Value:
    """``max(x, 0)``."""
    return graph.unary("Relu", x)


@lowers("threshold_backward.default")
def threshold_backward(graph: GraphBuilder, slope: Value, result: Value, threshold: float) -> Value:
    """The slope where the result exceeds the threshold, else 0.

    A product with a mask, since onnxruntime's ``Where`` takes five times as long.
    """
    return graph.binary("Mul", slope, _above(graph, result, threshold))


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


@lowers("gelu.default")
def gelu(graph: GraphBuilder, x: Value, approximate: str = "none") -> Value:
    """``x Phi(x)``, written so that torch's backward finds its terms again."""
    if approximate == "none":
        error = graph.unary("Erf", graph.binary("Mul", x, math.sqrt(0.5)))
        return graph.binary("Mul", x, _half_of_one_plus(graph, error))
    cube = graph.binary("Mul", graph.binary("Mul", x, x), x)
    inner = graph.binary("Add", x, graph.binary("Mul", cube, 0.044715))
    turn = graph.unary("Tanh", graph.binary("Mul", inner, math.sqrt(2 / math.pi)))
    return graph.binary("Mul", x, _half_of_one_plus(graph, turn))


@lowers("leaky_relu.default")
def leaky_relu(graph: GraphBuilder, x: Value, leak: float = 0.01) -> Value:
    """``x`` where it is positive, else ``leak x``."""
    return graph.unary("LeakyRelu", x, alpha=float(leak))


@lowers("leaky_relu_backward.default")
def leaky_relu_backward(
    graph: GraphBuilder, slope: Value, x: Value, leak: float, x_is_result: bool
) -> Value:
    """``slope`` or ``leak slope``; a result has its input's sign, so either will do."""
    share = graph.binary("Mul", _above(graph, x, 0), 1.0 - leak)
    return graph.binary("Mul", slope, graph.binary("Add", share, float(leak)))


@lowers("elu.default")
def elu(
    graph: GraphBuilder, x: Value, alpha: float = 1, scale: float = 1, input_scale: float = 1
) -> Value:
    """``scale x`` where x is positive, else ``scale alpha (exp(input_scale x) - 1)``.

    ELU has both scales 1, SELU one of them, and CELU ``input_scale = 1 / alpha``.
    """
    if input_scale == 1:
        result = graph.unary("Elu", x, alpha=float(alpha))
        return result if scale == 1 else graph.binary("Mul", result, float(scale))
    bent = graph.binary("Mul", _below_zero_exponential(graph, x, input_scale), alpha * scale)
    bent = graph.binary("Sub", bent, alpha * scale)
    return graph.binary("Add", graph.binary("Mul", graph.unary("Relu", x), float(scale)), bent)


@lowers("elu_backward.default")
def elu_backward(
    graph: GraphBuilder,
    slope: Value,
    alpha: float,
    scale: float,
    input_scale: float,
    x_is_result: bool,
    x: Value,
) -> Value:
    """``scale slope`` or ``scale alpha input_scale exp(input_scale x) slope``.

    Of the two only one differs from the bent branch's value at 0, which is then taken off.
    """
    steep = scale * alpha * input_scale
    if x_is_result:  # alpha scale exp(input_scale x) = result + alpha scale, where it is bent
        bent = graph.binary("Mul", graph.binary("Min", x, 0.0), float(input_scale))
        bent = graph.binary("Add", bent, steep)
    else:
        bent = graph.binary("Mul", _below_zero_exponential(graph, x, input_scale), steep)
    if steep != scale:
        straight = graph.binary("Mul", _above(graph, x, 0), scale - steep)
        bent = graph.binary("Add", bent, straight)
    return graph.binary("Mul", slope, bent)


@lowers("softplus.default")
def softplus(graph: GraphBuilder, x: Value, beta: float = 1, threshold: float = 20) -> Value:
    """``log(1 + exp(beta x)) / beta``; past torch's threshold, too, where float32 sees no step."""
    _check_threshold(threshold)
    inner = x if beta == 1 else graph.binary("Mul", x, float(beta))
    result = graph.unary("Softplus", inner)
    return result if beta == 1 else graph.binary("Mul", result, 1.0 / beta)


@lowers("softplus_backward.default")
def softplus_backward(
    graph: GraphBuilder, slope: Value, x: Value, beta: float, threshold: float
) -> Value:
    """``slope sigmoid(beta x)``."""
    _check_threshold(threshold)
    inner = x if beta == 1 else graph.binary("Mul", x, float(beta))
    return graph.binary("Mul", slope, graph.unary("Sigmoid", inner))


@lowers("hardtanh.default")
def hardtanh(graph: GraphBuilder, x: Value, low: float = -1, high: float = 1) -> Value:
    """``x`` cut to a range; ReLU6 is this from 0 to 6."""
    return clamp(graph, x, low, high)


@lowers("hardtanh_backward.default")
def hardtanh_backward(
    graph: GraphBuilder, slope: Value, x: Value, low: float, high: float
) -> Value:
    """The slope where ``x`` was not cut."""
    return graph.binary("Mul", slope, _inside(graph, x, low, high))


@lowers("clamp.default", "clamp_min.default")
def clamp(
    graph: GraphBuilder, x: Value, low: float | None = None, high: float | None = None
) -> Value:
    """``x`` cut to a range that may be open on one side."""
    bounds = [None if b is None else graph.constant(b, x.dtype) for b in (low, high)]
    return graph.one("Clip", [x, *bounds], x.shape, x.dtype)


@lowers("clamp_max.default")
def clamp_from_above(graph: GraphBuilder, x: Value, high: float) -> Value:
    """``x`` cut to a range open below."""
    return clamp(graph, x, None, high)


@lowers("hardsigmoid.default")
def hardsigmoid(graph: GraphBuilder, x: Value) -> Value:
    """``x / 6 + 1/2`` cut to [0, 1]."""
    return graph.unary("HardSigmoid", x, alpha=1 / 6, beta=0.5)


@lowers("hardsigmoid_backward.default")
def hardsigmoid_backward(graph: GraphBuilder, slope: Value, x: Value) -> Value:
    """A sixth of the slope where ``x`` was not cut."""
    return graph.binary("Mul", slope, graph.binary("Mul", _inside(graph, x, -3, 3), 1 / 6))


@lowers("hardswish.default")
def hardswish(graph: GraphBuilder, x: Value) -> Value:
    """``x hardsigmoid(x)``."""
    return graph.binary("Mul", x, hardsigmoid(graph, x))


@lowers("hardswish_backward.default")
def hardswish_backward(graph: GraphBuilder, slope: Value, x: Value) -> Value:
    """``slope (hardsigmoid(x) + x / 6)``, the second term where ``x`` was not cut."""
    sixth = graph.binary("Mul", x, graph.binary("Mul", _inside(graph, x, -3, 3), 1 / 6))
    return graph.binary("Mul", slope, graph.binary("Add", hardsigmoid(graph, x), sixth))


def _above(graph: GraphBuilder, x: Value, level: float) -> Value:
    """1 where ``x`` exceeds the level, else 0."""
    mask = graph.binary("Greater", x, float(level), "bool")
    return graph.unary("Cast", mask, "float32", to=1)


def _inside(graph: GraphBuilder, x: Value, low: float, high: float) -> Value:
    """1 where ``low < x < high``, else 0."""
    above = graph.binary("Greater", x, float(low), "bool")
    below = graph.binary("Less", x, float(high), "bool")
    return graph.unary("Cast", graph.binary("And", above, below), "float32", to=1)


def _half_of_one_plus(graph: GraphBuilder, x: Value) -> Value:
    return graph.binary("Mul", graph.binary("Add", x, 1.0), 0.5)


def _below_zero_exponential(graph: GraphBuilder, x: Value, scale: float) -> Value:
    """``exp(scale min(x, 0))``, which does not overflow; 1 where ``x`` is positive."""
    negative = graph.binary("Min", x, 0.0)
    return graph.unary("Exp", negative if scale == 1 else graph.binary("Mul", negative, scale))


def _check_threshold(threshold: float) -> None:
    if threshold < 17:  # log(1 + exp(-17)) = 4e-8, half a unit in the last place of float32
        raise UnsupportedError(f"threshold = {threshold}: use 20, torch's default")
