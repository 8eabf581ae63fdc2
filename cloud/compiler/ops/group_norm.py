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
from dataclasses import dataclass

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
    view = _View(batch=batch, groups=groups, members=channels // groups, inner=inner)
    grouped = graph.reshape(x, view.of_groups)
    mean = graph.reduce("ReduceMean", grouped, [2], keep=True)
    centred = graph.binary("Sub", grouped, mean)
    square = graph.binary("Mul", centred, centred)
    variance = graph.reduce("ReduceMean", square, [2], keep=True)
    deviation = graph.unary("Sqrt", graph.binary("Add", variance, float(eps)))
    inverse = graph.unary("Reciprocal", deviation)
    if gamma is not None:
        scale = view.per_channel(graph, graph.reshape(inverse, view.group), gamma)
        y = graph.binary("Mul", graph.reshape(centred, view.of_channels), scale)
    else:
        y = graph.reshape(graph.binary("Mul", centred, inverse), view.of_channels)
    if beta is not None:
        y = graph.binary("Add", y, graph.reshape(beta, (1, channels, 1)))
    return (
        graph.reshape(y, x.shape),
        graph.reshape(mean, (batch, groups)),
        graph.reshape(inverse, (batch, groups)),
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
    view = _View(batch=batch, groups=groups, members=channels // groups, inner=inner)
    dy = graph.reshape(slope, view.of_channels)
    inverse = graph.reshape(inverse, view.group)
    # The builder finds this one in the forward pass again.
    centred = graph.binary(
        "Sub", graph.reshape(x, view.of_groups), graph.reshape(mean, (batch, groups, 1))
    )
    product = graph.binary("Mul", dy, graph.reshape(centred, view.of_channels))
    s1 = graph.reshape(graph.reduce("ReduceSum", dy, [2], keep=True), view.channel)
    s2 = graph.reshape(graph.reduce("ReduceSum", product, [2], keep=True), view.channel)
    dx = None
    if wanted[0]:
        dx = _input_slope(graph, view, (dy, centred, s1, s2), inverse=inverse, gamma=gamma)
        dx = graph.reshape(dx, x.shape)
    scaled = graph.reshape(graph.binary("Mul", s2, inverse), (batch, channels))
    dgamma = graph.reduce("ReduceSum", scaled, [0], keep=False)
    dbeta = graph.reduce("ReduceSum", graph.reshape(s1, (batch, channels)), [0], keep=False)
    return dx, dgamma if wanted[1] else None, dbeta if wanted[2] else None


def _input_slope(
    graph: GraphBuilder,
    view: _View,
    terms: tuple[Value, Value, Value, Value],
    *,
    inverse: Value,
    gamma: Value | None,
) -> Value:
    dy, centred, s1, s2 = terms
    per_group = (view.batch, view.groups, 1)
    if gamma is not None:
        by_channel = graph.reshape(gamma, view.member)
        s1, s2 = graph.binary("Mul", s1, by_channel), graph.binary("Mul", s2, by_channel)
        scale = view.per_channel(graph, inverse, gamma)
        direct = graph.reshape(graph.binary("Mul", dy, scale), view.of_groups)
    else:
        scale = graph.reshape(inverse, per_group)
        direct = graph.binary("Mul", graph.reshape(dy, view.of_groups), scale)
    total1 = graph.reduce("ReduceSum", s1, [2], keep=True)
    total2 = graph.reduce("ReduceSum", s2, [2], keep=True)
    ratio = graph.binary("Mul", inverse, 1.0 / (view.members * view.inner))
    level = graph.binary("Mul", total1, ratio)
    square = graph.binary("Mul", inverse, inverse)
    along = graph.binary("Mul", graph.binary("Mul", total2, ratio), square)
    parallel = graph.binary("Mul", centred, graph.reshape(along, per_group))
    rest = graph.binary("Sub", direct, parallel)
    return graph.binary("Sub", rest, graph.reshape(level, per_group))


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """The shapes under which one tensor is seen, chosen so that rows are long and copies none."""

    batch: int
    groups: int
    members: int  # channels in a group
    inner: int  # places in a channel

    @property
    def of_groups(self) -> tuple[int, int, int]:
        return (self.batch, self.groups, self.members * self.inner)

    @property
    def of_channels(self) -> tuple[int, int, int]:
        return (self.batch, self.groups * self.members, self.inner)

    @property
    def group(self) -> tuple[int, int, int, int]:
        """A number for each group of each example."""
        return (self.batch, self.groups, 1, 1)

    @property
    def channel(self) -> tuple[int, int, int, int]:
        """A number for each channel of each example."""
        return (self.batch, self.groups, self.members, 1)

    @property
    def member(self) -> tuple[int, int, int, int]:
        """A number for each channel."""
        return (1, self.groups, self.members, 1)

    def per_channel(self, graph: GraphBuilder, inverse: Value, gamma: Value) -> Value:
        """``inverse gamma`` of each channel of each example, ready for ``of_channels``."""
        product = graph.binary("Mul", inverse, graph.reshape(gamma, self.member))
        return graph.reshape(product, (self.batch, self.groups * self.members, 1))
