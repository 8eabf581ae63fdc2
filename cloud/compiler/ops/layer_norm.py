"""Layer normalisation forward and backward, over rows: all that is normalised lies in one.

With ``c = x - mean``, ``r = 1 / sqrt(var + eps)`` of a row of ``N`` and ``g = dy gamma``::

    y      = c r gamma + beta
    dgamma = sum over rows of dy c r         dbeta = sum over rows of dy
    dx     = r (g - sum(g) / N - c r^2 sum(g c) / N)

Source: Ba, Kiros and Hinton, "Layer Normalization", 2016, differentiated by hand. onnxruntime's
own operator takes the variance as a difference of two means, which loses digits far from 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.registry import lowers
from cloud.compiler.value import Value


@lowers("native_layer_norm.default")
def layer_norm(
    graph: GraphBuilder,
    x: Value,
    sizes: Sequence[int],
    gamma: Value | None,
    beta: Value | None,
    eps: float,
) -> tuple[Value, Value, Value]:
    """The normalised tensor, and the mean and inverse deviation of every row."""
    rows = _rows(graph, x, sizes)
    mean = graph.reduce("ReduceMean", rows, [1], keep=True)
    centred = graph.binary("Sub", rows, mean)
    square = graph.binary("Mul", centred, centred)
    variance = graph.reduce("ReduceMean", square, [1], keep=True)
    deviation = graph.unary("Sqrt", graph.binary("Add", variance, float(eps)))
    inverse = graph.unary("Reciprocal", deviation)
    y = graph.binary("Mul", centred, inverse)
    if gamma is not None:
        y = graph.binary("Mul", y, _row(graph, gamma))
    if beta is not None:
        y = graph.binary("Add", y, _row(graph, beta))
    kept = (*x.shape[: x.rank - len(sizes)], *[1] * len(sizes))
    return graph.reshape(y, x.shape), graph.reshape(mean, kept), graph.reshape(inverse, kept)


@lowers("native_layer_norm_backward.default")
def layer_norm_backward(
    graph: GraphBuilder,
    slope: Value,
    x: Value,
    sizes: Sequence[int],
    mean: Value,
    inverse: Value,
    gamma: Value | None,
    beta: Value | None,
    wanted: Sequence[bool],
) -> tuple[Value | None, Value | None, Value | None]:
    """Slopes of the input, of gamma and of beta, as far as they are wanted."""
    dy, rows = _rows(graph, slope, sizes), _rows(graph, x, sizes)
    count = rows.shape[0]
    inverse = graph.reshape(inverse, (count, 1))
    # The builder finds both in the forward pass again.
    centred = graph.binary("Sub", rows, graph.reshape(mean, (count, 1)))
    normal = graph.binary("Mul", centred, inverse)
    dx = dgamma = dbeta = None
    if wanted[0]:
        g = dy if gamma is None else graph.binary("Mul", dy, _row(graph, gamma))
        level = graph.reduce("ReduceMean", g, [1], keep=True)
        along = graph.reduce("ReduceMean", graph.binary("Mul", g, normal), [1], keep=True)
        parallel = graph.binary("Mul", normal, along)
        rest = graph.binary("Sub", graph.binary("Sub", g, level), parallel)
        dx = graph.reshape(graph.binary("Mul", rest, inverse), x.shape)
    if wanted[1] and gamma is not None:
        dgamma = graph.reduce("ReduceSum", graph.binary("Mul", dy, normal), [0], keep=False)
        dgamma = graph.reshape(dgamma, gamma.shape)
    if wanted[2] and beta is not None:
        dbeta = graph.reshape(graph.reduce("ReduceSum", dy, [0], keep=False), beta.shape)
    return dx, dgamma, dbeta


def _rows(graph: GraphBuilder, x: Value, sizes: Sequence[int]) -> Value:
    """Shape ``(rows, elements normalised together)``."""
    inner = math.prod(sizes)
    return graph.reshape(x, (x.size // inner, inner))


def _row(graph: GraphBuilder, weight: Value) -> Value:
    return graph.reshape(weight, (1, weight.size))
