"""The weight gradient of a convolution, one matrix product for each element of the kernel."""

from __future__ import annotations

import itertools

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.ops.convolution_shape import ConvolutionShape
from cloud.compiler.value import Value


def weight_slope(graph: GraphBuilder, shape: ConvolutionShape, slope: Value, x: Value) -> Value:
    """For kernel element k the sum over batch and place of ``slope`` times the shifted input."""
    rank = len(shape.size)
    edges = (0, 0, *shape.padding)
    padded = graph.pad(x, edges, edges)
    channels_last = (0, *range(2, rank + 2), 1)
    rows = graph.transpose(slope, channels_last)
    rows = graph.reshape(rows, (slope.size // shape.outputs, shape.outputs))
    taps = []
    for offsets in itertools.product(*(range(size) for size in shape.kernel)):
        shifted = padded
        for axis, offset in enumerate(offsets):
            start = offset * shape.dilation[axis]
            stop = start + (shape.result[axis] - 1) * shape.stride[axis] + 1
            shifted = graph.slice(shifted, axis + 2, start, stop, shape.stride[axis])
        columns = graph.transpose(shifted, channels_last)
        columns = graph.reshape(columns, (rows.shape[0], shape.channels))
        product = graph.gemm(rows, columns, transpose_a=True)
        taps.append(graph.reshape(product, (1, shape.outputs, shape.channels)))
    stacked = graph.transpose(graph.concat(taps, 0), (1, 2, 0))
    return graph.reshape(stacked, (shape.outputs, shape.channels, *shape.kernel))
