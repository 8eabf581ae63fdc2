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


@lowers("transpose.int", "transpose.default")
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


@lowers("squeeze.default")
def drop_ones(graph: GraphBuilder, x: Value) -> Value:
    """Every axis of size 1 left out."""
    return graph.reshape(x, [size for size in x.shape if size != 1])


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


@lowers("split.Tensor")
def cut_evenly(graph: GraphBuilder, x: Value, length: int, axis: int = 0) -> tuple[Value, ...]:
    """Parts of one length along an axis; the last may be shorter."""
    whole, rest = divmod(x.shape[normal_axis(axis, x.rank)], length)
    return graph.split(x, [length] * whole + [rest] * (rest > 0), axis)


@lowers("split_with_sizes.default")
def cut(graph: GraphBuilder, x: Value, lengths: Sequence[int], axis: int = 0) -> tuple[Value, ...]:
    """Parts of the given lengths along an axis."""
    return graph.split(x, lengths, axis)


@lowers("unbind.int")
def rows(graph: GraphBuilder, x: Value, axis: int = 0) -> tuple[Value, ...]:
    """Every ``x[index]`` along an axis, which goes."""
    axis = normal_axis(axis, x.rank)
    kept = x.shape[:axis] + x.shape[axis + 1 :]
    parts = graph.split(x, [1] * x.shape[axis], axis)
    return tuple(graph.reshape(part, kept) for part in parts)


@lowers("constant_pad_nd.default")
def pad(graph: GraphBuilder, x: Value, widths: Sequence[int], content: float = 0) -> Value:
    """A number around the last axes; ``widths`` are before and after, the last axis first."""
    before, after = [0] * x.rank, [0] * x.rank
    for index in range(len(widths) // 2):
        before[-1 - index], after[-1 - index] = widths[2 * index], widths[2 * index + 1]
    return graph.pad(x, before, after, float(content))


@lowers("flip.default")
def reverse(graph: GraphBuilder, x: Value, axes: Sequence[int]) -> Value:
    """The axes counted from the end."""
    for axis in axes:
        x = graph.gather(x, range(x.shape[axis])[::-1], axis)
    return x


@lowers("repeat.default")
def repeat(graph: GraphBuilder, x: Value, times: Sequence[int]) -> Value:
    """The whole tensor that often along every axis."""
    x = graph.reshape(x, (1,) * (len(times) - x.rank) + x.shape)
    shape = tuple(count * size for count, size in zip(times, x.shape, strict=True))
    if all(size == 1 for count, size in zip(times, x.shape, strict=True) if count > 1):
        return graph.expand(x, shape)
    return graph.one("Tile", [x, graph.constant(list(times), "int64")], shape, x.dtype)


@lowers("slice_scatter.default")
def replace_part(
    graph: GraphBuilder,
    x: Value,
    source: Value,
    axis: int = 0,
    start: int | None = None,
    stop: int | None = None,
    step: int = 1,
) -> Value:
    """``x`` with ``x[start:stop:step]`` along an axis replaced."""
    axis = normal_axis(axis, x.rank)
    places = range(*slice(start, stop, step).indices(x.shape[axis]))
    joined = graph.concat([x, source], axis)
    chosen = list(range(x.shape[axis]))
    for turn, place in enumerate(places):
        chosen[place] = x.shape[axis] + turn
    return graph.gather(joined, chosen, axis)


@lowers("select_scatter.default")
def replace_one(graph: GraphBuilder, x: Value, source: Value, axis: int, index: int) -> Value:
    """``x`` with ``x[index]`` along an axis replaced."""
    axis = normal_axis(axis, x.rank)
    index %= x.shape[axis]
    row = graph.reshape(source, (*x.shape[:axis], 1, *x.shape[axis + 1 :]))
    return replace_part(graph, x, row, axis, index, index + 1)


@lowers("scatter.src")
def scatter(graph: GraphBuilder, x: Value, axis: int, places: Value, source: Value) -> Value:
    """``x`` with the source's elements put at places of an axis, which must differ."""
    axis = normal_axis(axis, x.rank)
    return graph.one("ScatterElements", [x, places, source], x.shape, x.dtype, axis=axis)


@lowers("cat.default")
def join(graph: GraphBuilder, parts: Sequence[Value], axis: int = 0) -> Value:
    """Tensors one after the other along an axis."""
    parts = [part for part in parts if part.shape != (0,)]  # torch's oldest empty tensor
    return graph.concat(parts, axis)
