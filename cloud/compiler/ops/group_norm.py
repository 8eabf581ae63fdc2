"""Group normalisation forward and backward, with the sums that both need taken once.

With ``c = x - mean`` of its group, ``r = 1 / sqrt(var + eps)``, ``N`` elements in a group and
sums over one channel ``s1 = sum(dy)``, ``s2 = sum(dy c)``::

    y      = c r gamma + beta
    dbeta  = sum over batch of s1            dgamma = sum over batch of r s2
    dx     = r gamma dy - r/N S1 - c r^3/N S2,   Si = sum over the group's channels of gamma si

Source: Wu and He, "Group Normalization", ECCV 2018, differentiated by hand.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.registry import lowers
from cloud.compiler.value import Value


@lowers("native_group_norm.default")
def group_norm(
    graph: GraphBuilder,
    x: Value,
    gamma: Value | None,
    beta: Value | None,
    batch: int,
    channels: int,
    inner: int,
    groups: int,
    eps: float,
) -> tuple[Value, Value, Value]:
    """The normalised tensor, and the mean and inverse deviation of every group."""
    size = channels // groups * inner
    mean = graph.reduce("ReduceMean", _grouped(graph, x, groups), [2], keep=True)
    centred = graph.binary("Sub", _grouped(graph, x, groups), mean)
    squares = graph.reduce("ReduceSumSquare", centred, [2], keep=True)
    variance = graph.binary("Mul", squares, 1.0 / size)
    deviation = graph.unary("Sqrt", graph.binary("Add", variance, float(eps)))
    inverse = graph.unary("Reciprocal", deviation)
    scale = _per_channel(graph, inverse, channels)
    if gamma is not None:
        scale = graph.binary("Mul", scale, graph.reshape(gamma, (1, channels, 1)))
    y = graph.binary("Mul", graph.reshape(centred, (batch, channels, inner)), scale)
    if beta is not None:
        y = graph.binary("Add", y, graph.reshape(beta, (1, channels, 1)))
    per_group = (batch, groups)
    return (
        graph.reshape(y, x.shape),
        graph.reshape(mean, per_group),
        graph.reshape(inverse, per_group),
    )


@lowers("native_group_norm_backward.default")
def group_norm_backward(
    graph: GraphBuilder,
    slope: Value,
    x: Value,
    mean: Value,
    inverse: Value,
    gamma: Value | None,
    batch: int,
    channels: int,
    inner: int,
    groups: int,
    wanted: Sequence[bool],
) -> tuple[Value | None, Value | None, Value | None]:
    """Slopes of the input, of gamma and of beta, as far as they are wanted."""
    shape = (batch, channels, inner)
    dy = graph.reshape(slope, shape)
    mean = graph.reshape(mean, (batch, groups, 1))
    inverse = graph.reshape(inverse, (batch, groups, 1))
    # The builder finds this one in the forward pass again.
    centred = graph.binary("Sub", _grouped(graph, x, groups), mean)
    centred = graph.reshape(centred, shape)
    s1 = graph.reduce("ReduceSum", dy, [2], keep=True)
    s2 = graph.reduce("ReduceSum", graph.binary("Mul", dy, centred), [2], keep=True)
    scale = _per_channel(graph, inverse, channels)
    dx = None
    if wanted[0]:
        rows = (s1, s2, scale)
        if gamma is not None:
            by_channel = graph.reshape(gamma, (1, channels, 1))
            rows = tuple(graph.binary("Mul", row, by_channel) for row in rows)  # type: ignore[assignment]
        dx = graph.reshape(
            _input_slope(graph, dy, centred, rows, inverse=inverse), x.shape
        )
    dgamma = graph.reduce("ReduceSum", graph.binary("Mul", s2, scale), [0, 2], keep=False)
    dbeta = graph.reduce("ReduceSum", s1, [0, 2], keep=False)
    return dx, dgamma if wanted[1] else None, dbeta if wanted[2] else None


def _input_slope(
    graph: GraphBuilder,
    dy: Value,
    centred: Value,
    rows: tuple[Value, Value, Value],
    *,
    inverse: Value,
) -> Value:
    batch, channels, inner = dy.shape
    groups = inverse.shape[1]
    size = channels // groups * inner
    gathered = (batch, groups, channels // groups)
    total1, total2 = (
        graph.reduce("ReduceSum", graph.reshape(row, gathered), [2], keep=True) for row in rows[:2]
    )
    cube = graph.binary("Mul", graph.binary("Mul", inverse, inverse), inverse)
    share1 = graph.binary("Mul", graph.binary("Mul", total1, inverse), 1.0 / size)
    share2 = graph.binary("Mul", graph.binary("Mul", total2, cube), 1.0 / size)
    direct = graph.binary("Mul", dy, rows[2])
    along = graph.binary("Mul", centred, _per_channel(graph, share2, channels))
    level = _per_channel(graph, share1, channels)
    return graph.binary("Sub", graph.binary("Sub", direct, along), level)


def _grouped(graph: GraphBuilder, x: Value, groups: int) -> Value:
    batch = x.shape[0]
    return graph.reshape(x, (batch, groups, x.size // (batch * groups)))


def _per_channel(graph: GraphBuilder, per_group: Value, channels: int) -> Value:
    """``(batch, groups, 1)`` repeated to ``(batch, channels, 1)``."""
    batch, groups, _ = per_group.shape
    wide = graph.expand(
        graph.reshape(per_group, (batch, groups, 1)), (batch, groups, channels // groups)
    )
    return graph.reshape(wide, (batch, channels, 1))
