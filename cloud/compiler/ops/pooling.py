"""Maximum and average pooling; over one axis torch itself adds another of size 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.ops.pooling_windows import AdaptiveWindows, Windows
from cloud.compiler.registry import lowers
from cloud.compiler.value import Value


@lowers("max_pool2d_with_indices.default")
def max_pool(
    graph: GraphBuilder,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    ceil_mode: bool = False,
) -> tuple[Value, Value]:
    """The largest of every window; in place of indices the result again, which backward reads."""
    windows = Windows.of(x, kernel, stride, padding, dilation, ceil_mode)
    if not windows.apart:
        best = graph.one(
            "MaxPool",
            [x],
            (*x.shape[:-2], *windows.result),
            kernel_shape=windows.kernel,
            strides=windows.stride,
            pads=windows.pads,
            dilations=windows.dilation,
        )
        return best, best
    best, *others = windows.slots(graph, x, content=float("-inf"))
    for slot in others:
        best = graph.binary("Max", best, slot)
    return best, best


@lowers("max_pool2d_with_indices_backward.default")
def max_pool_backward(
    graph: GraphBuilder,
    slope: Value,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    best: Value,
) -> Value:
    """Each window's slope goes to the first of its elements that equals the maximum."""
    windows = Windows.of(x, kernel, stride, padding, dilation, ceil_mode)
    slots = windows.slots(graph, x, content=float("-inf"))
    taken: list[Value] = []
    rest = slope
    for slot in slots[:-1]:
        hit = graph.unary("Cast", graph.binary("Equal", slot, best, "bool"), "float32", to=1)
        taken.append(graph.binary("Mul", rest, hit))
        # Exact: what was taken is either the whole remainder or zero.
        rest = graph.binary("Sub", rest, taken[-1])
    return windows.spread(graph, [*taken, rest])


@lowers("avg_pool2d.default")
def average_pool(
    graph: GraphBuilder,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    ceil_mode: bool = False,
    count_padding: bool = True,
    divisor: int | None = None,
) -> Value:
    """The mean of every window."""
    windows = Windows.of(x, kernel, stride, padding, ceil_mode=ceil_mode)
    share = _share(graph, windows, count_padding=count_padding, divisor=divisor)
    if not windows.apart:
        mean = graph.one(
            "AveragePool",
            [x],
            (*x.shape[:-2], *windows.result),
            kernel_shape=windows.kernel,
            strides=windows.stride,
            pads=windows.pads,
            count_include_pad=1,
        )
        total = graph.binary("Mul", mean, float(windows.count))
        return graph.binary("Mul", total, share)
    total, *others = windows.slots(graph, x, content=0.0)
    for slot in others:
        total = graph.binary("Add", total, slot)
    return graph.binary("Mul", total, share)


@lowers("avg_pool2d_backward.default")
def average_pool_backward(
    graph: GraphBuilder,
    slope: Value,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_padding: bool,
    divisor: int | None,
) -> Value:
    """Each window's slope is shared out equally."""
    windows = Windows.of(x, kernel, stride, padding, ceil_mode=ceil_mode)
    share = _share(graph, windows, count_padding=count_padding, divisor=divisor)
    return windows.spread(graph, [graph.binary("Mul", slope, share)] * windows.count)


@lowers("_adaptive_avg_pool2d.default")
def adaptive_average_pool(graph: GraphBuilder, x: Value, result: Sequence[int]) -> Value:
    """The mean of every window: a product with a matrix of shares along either axis."""
    rows, columns = AdaptiveWindows(size=x.shape[-2:], result=tuple(result)).shares()
    return _between(graph, rows, x, columns.T)


@lowers("_adaptive_avg_pool2d_backward.default")
def adaptive_average_pool_backward(graph: GraphBuilder, slope: Value, x: Value) -> Value:
    """The same shares the other way."""
    rows, columns = AdaptiveWindows(size=x.shape[-2:], result=slope.shape[-2:]).shares()
    return _between(graph, rows.T, slope, columns)


@lowers("adaptive_max_pool2d.default")
def adaptive_max_pool(graph: GraphBuilder, x: Value, result: Sequence[int]) -> tuple[Value, Value]:
    """The largest of every window; in place of indices the result again, which nothing reads."""
    windows = AdaptiveWindows(size=x.shape[-2:], result=tuple(result))
    best = graph.reduce("ReduceMax", windows.blocks(graph, x), [-1], keep=False)
    return best, best


@lowers("adaptive_max_pool2d_backward.default")
def adaptive_max_pool_backward(graph: GraphBuilder, slope: Value, x: Value, best: Value) -> Value:
    """Each window's slope goes to the first of its largest elements."""
    windows = AdaptiveWindows(size=x.shape[-2:], result=slope.shape[-2:])
    blocks = windows.blocks(graph, x)
    column = (*slope.shape, 1)
    first = graph.one("ArgMax", [blocks], column, "int64", axis=blocks.rank - 1, keepdims=1)
    places = graph.constant(np.arange(blocks.shape[-1]), "int64")
    hit = graph.unary("Cast", graph.binary("Equal", first, places, "bool"), "float32", to=1)
    return windows.spread(graph, graph.binary("Mul", hit, graph.reshape(slope, column)))


def _share(
    graph: GraphBuilder, windows: Windows, *, count_padding: bool, divisor: int | None
) -> Value | float:
    """What an element counts in its window's mean, by window where that differs."""
    if divisor is not None or windows.apart:
        return 1.0 / (divisor or windows.count)
    divisors = windows.divisors(count_padding=count_padding)
    if (divisors == divisors[0, 0]).all():
        return 1.0 / float(divisors[0, 0])
    return graph.constant(1.0 / divisors, "float32")


def _between(
    graph: GraphBuilder,
    left: npt.NDArray[np.float64],
    x: Value,
    right: npt.NDArray[np.float64],
) -> Value:
    """``left x right`` over the last two axes; a matrix of one number that is 1 is left out."""
    if right.shape != (1, 1):
        x = graph.matmul(x, graph.constant(right, "float32"))
    if left.shape != (1, 1):
        x = graph.matmul(graph.constant(left, "float32"), x)
    return x
