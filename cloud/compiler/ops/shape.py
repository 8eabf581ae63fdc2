"""Views, permutations, slices and joins: the same numbers in another order."""

from __future__ import annotations

from collections.abc import Sequence

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.registry import lowers
from cloud.compiler.value import Value, normal_axis


@lowers("view.default", "_unsafe_view.default", "reshape.default")
def view(graph: GraphBuilder, x: Value, shape: Sequence[int]) -> Value:
    """Another shape; one size may be -1."""
    known = 1
    for size in shape:
        known *= size if size != -1 else 1
    return graph.reshape(x, [x.size // known if size == -1 else size for size in shape])


@lowers("permute.default")
def permute(graph: GraphBuilder, x: Value, order: Sequence[int]) -> Value:
    """Axes in another order."""
    return graph.transpose(x, order)


@lowers("transpose.int")
def swap_axes(graph: GraphBuilder, x: Value, first: int, second: int) -> Value:
    """Two axes swapped."""
    order = list(range(x.rank))
    order[first], order[second] = order[second], order[first]
    return graph.transpose(x, order)


@lowers("unsqueeze.default")
def add_axis(graph: GraphBuilder, x: Value, axis: int) -> Value:
    """An axis of size 1 put in."""
    place = normal_axis(axis, x.rank + 1)
    return graph.reshape(x, (*x.shape[:place], 1, *x.shape[place:]))


@lowers("squeeze.dim", "squeeze.dims")
def drop_axes(graph: GraphBuilder, x: Value, axes: int | Sequence[int]) -> Value:
    """The named axes left out where their size is 1."""
    named = [axes] if isinstance(axes, int) else list(axes)
    which = {normal_axis(axis, x.rank) for axis in named}
    kept = [size for axis, size in enumerate(x.shape) if axis not in which or size != 1]
    return graph.reshape(x, kept)


@lowers("expand.default")
def expand(graph: GraphBuilder, x: Value, shape: Sequence[int], implicit: bool = False) -> Value:
    """Repeated along axes of size 1; -1 keeps a size."""
    aligned = (1,) * (len(shape) - x.rank) + x.shape
    wanted = [old if new == -1 else new for old, new in zip(aligned, shape, strict=True)]
    return graph.expand(graph.reshape(x, aligned), wanted)


@lowers("slice.Tensor")
def part(
    graph: GraphBuilder,
    x: Value,
    axis: int = 0,
    start: int | None = None,
    stop: int | None = None,
    step: int = 1,
) -> Value:
    """``x[start:stop:step]`` along an axis."""
    axis = normal_axis(axis, x.rank)
    first, last, _ = slice(start, stop).indices(x.shape[axis])
    return graph.slice(x, axis, first, last, step)


@lowers("select.int")
def pick(graph: GraphBuilder, x: Value, axis: int, index: int) -> Value:
    """``x[index]`` along an axis, which goes."""
    axis = normal_axis(axis, x.rank)
    index %= x.shape[axis]
    row = graph.slice(x, axis, index, index + 1)
    return graph.reshape(row, x.shape[:axis] + x.shape[axis + 1 :])


@lowers("cat.default")
def join(graph: GraphBuilder, parts: Sequence[Value], axis: int = 0) -> Value:
    """Tensors one after the other along an axis."""
    return graph.concat(parts, axis)
