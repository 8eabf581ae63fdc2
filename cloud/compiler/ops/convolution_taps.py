"""The weight gradient of a convolution, one matrix product for each element of the kernel."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.ops.convolution_shape import ConvolutionShape
from cloud.compiler.value import Value


def weight_slope(graph: GraphBuilder, shape: ConvolutionShape, slope: Value, x: Value) -> Value:
    """For kernel element k the sum over batch and place of ``slope`` times the shifted input."""
    taps = (_grouped_taps if shape.groups > 1 else _taps)(graph, shape, slope, x)
    members = shape.channels // shape.groups
    stacked = [graph.reshape(tap, (1, shape.outputs, members)) for tap in taps]
    last = graph.transpose(graph.concat(stacked, 0), (1, 2, 0))
    return graph.reshape(last, (shape.outputs, members, *shape.kernel))


def _taps(graph: GraphBuilder, shape: ConvolutionShape, slope: Value, x: Value) -> Iterator[Value]:
    """Shape ``(outputs, channels)`` each."""
    rank = len(shape.size)
    channels_last = (0, *range(2, rank + 2), 1)
    rows = graph.transpose(slope, channels_last)
    rows = graph.reshape(rows, (slope.size // shape.outputs, shape.outputs))
    for shifted in _shifted(graph, shape, x):
        columns = graph.transpose(shifted, channels_last)
        columns = graph.reshape(columns, (rows.shape[0], shape.channels))
        yield graph.gemm(rows, columns, transpose_a=True)


def _grouped_taps(
    graph: GraphBuilder, shape: ConvolutionShape, slope: Value, x: Value
) -> Iterator[Value]:
    """Shape ``(groups, outputs of a group, channels of a group)`` each."""
    axes = range(2, x.rank)
    places = slope.size // shape.outputs
    rows = graph.transpose(slope, (1, 0, *axes))
    rows = graph.reshape(rows, (shape.groups, shape.outputs // shape.groups, places))
    channels_first = graph.transpose(x, (1, 0, *axes))
    for shifted in _shifted(graph, shape, channels_first):
        members = graph.reshape(shifted, (shape.groups, shape.channels // shape.groups, places))
        if members.shape[1] == 1:  # depthwise: onnxruntime is slow at products of single rows
            yield graph.reduce("ReduceSum", graph.binary("Mul", rows, members), [2], keep=True)
        else:
            yield graph.matmul(rows, graph.transpose(members, (0, 2, 1)))


def _shifted(graph: GraphBuilder, shape: ConvolutionShape, x: Value) -> Iterator[Value]:
    """What every kernel element multiplies, one after the other; the first two axes stay."""
    edges = (0, 0, *shape.padding)
    padded = graph.pad(x, edges, edges)
    for offsets in itertools.product(*(range(size) for size in shape.kernel)):
        shifted = padded
        for axis, offset in enumerate(offsets):
            start = offset * shape.dilation[axis]
            stop = start + (shape.result[axis] - 1) * shape.stride[axis] + 1
            shifted = graph.slice(shifted, axis + 2, start, stop, shape.stride[axis])
        yield shifted
