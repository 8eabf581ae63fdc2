"""Maximum and average pooling over windows that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.registry import UnsupportedError, lowers
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
    slots = _slots(graph, x, kernel, stride, padding, dilation, ceil_mode)
    best = slots[0]
    for slot in slots[1:]:
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
    slots = _slots(graph, x, kernel, stride, padding, dilation, ceil_mode)
    taken: list[Value] = []
    rest = slope
    for slot in slots[:-1]:
        hit = graph.unary("Cast", graph.binary("Equal", slot, best, "bool"), "float32", to=1)
        taken.append(graph.binary("Mul", rest, hit))
        # Exact: what was taken is either the whole remainder or zero.
        rest = graph.binary("Sub", rest, taken[-1])
    return _spread(graph, [*taken, rest], x, kernel)


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
    slots = _slots(graph, x, kernel, stride, padding, (1, 1), ceil_mode)
    total = slots[0]
    for slot in slots[1:]:
        total = graph.binary("Add", total, slot)
    return graph.binary("Mul", total, 1.0 / (divisor or len(slots)))


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
    _check(x, kernel, stride, padding, (1, 1), ceil_mode)
    count = kernel[0] * kernel[-1]
    share = graph.binary("Mul", slope, 1.0 / (divisor or count))
    return _spread(graph, [share] * count, x, kernel)


def _check(
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> None:
    if list(stride or kernel) != list(kernel) or any(padding) or any(d != 1 for d in dilation):
        raise UnsupportedError(
            f"kernel {list(kernel)}, stride {list(stride)}, padding {list(padding)}, dilation "
            f"{list(dilation)}: only windows that do not overlap are compiled. Use stride = kernel "
            "without padding or dilation."
        )
    if ceil_mode and any(size % k for size, k in zip(x.shape[-2:], kernel, strict=True)):
        raise UnsupportedError("ceil_mode with a part window is not compiled. Leave it out.")


def _slots(
    graph: GraphBuilder,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> list[Value]:
    """The elements of all windows by their place in the window, row by row."""
    _check(x, kernel, stride, padding, dilation, ceil_mode)
    height, width = (size // k for size, k in zip(x.shape[-2:], kernel, strict=True))
    slots = []
    for row in range(kernel[0]):
        rows = graph.slice(x, -2, row, row + (height - 1) * kernel[0] + 1, kernel[0])
        for column in range(kernel[1]):
            last = column + (width - 1) * kernel[1] + 1
            slots.append(graph.slice(rows, -1, column, last, kernel[1]))
    return slots


def _spread(graph: GraphBuilder, slots: Sequence[Value], x: Value, kernel: Sequence[int]) -> Value:
    """The inverse of ``_slots``; rows and columns in no window get zero."""
    *lead, height, width = slots[0].shape
    stacked = [graph.reshape(slot, (*lead, height, width, 1)) for slot in slots]
    rows = []
    for row in range(kernel[0]):
        line = graph.concat(stacked[row * kernel[1] : (row + 1) * kernel[1]], -1)
        rows.append(graph.reshape(line, (*lead, height, 1, width * kernel[1])))
    full = graph.reshape(graph.concat(rows, -2), (*lead, height * kernel[0], width * kernel[1]))
    missing = [a - b for a, b in zip(x.shape[-2:], full.shape[-2:], strict=True)]
    return graph.pad(full, [0] * x.rank, [*[0] * len(lead), *missing])
