"""Convolution along one axis as matrix products over copied patches.

Channels go last, so a patch is a row of neighbouring places, and one gather copies all patches
into a matrix. Forward, weight slope and input slope are one product each, of ``batch * places``
rows. A row of zeros behind the last place stands for whatever lies in the padding.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.ops.convolution_shape import ConvolutionShape
from cloud.compiler.value import Value


def forward(
    graph: GraphBuilder, shape: ConvolutionShape, x: Value, weight: Value, bias: Value | None
) -> Value:
    """Patches times weights."""
    matrix = _matrix(graph, shape, weight)
    product = graph.gemm(_patches(graph, shape, x), matrix, bias, transpose_b=True)
    rows = graph.reshape(product, (shape.batch, shape.result[0], shape.outputs))
    return graph.transpose(rows, (0, 2, 1))


def weight_slope(graph: GraphBuilder, shape: ConvolutionShape, slope: Value, x: Value) -> Value:
    """Patches transposed times slopes; the patches are those of the forward pass."""
    product = graph.gemm(_patches(graph, shape, x), _rows(graph, shape, slope), transpose_a=True)
    # Two transpositions of neighbouring axes: onnxruntime is slow to reverse three at once.
    matrix = graph.transpose(product, (1, 0))
    taps = graph.reshape(matrix, (shape.outputs, shape.kernel[0], shape.channels))
    return graph.transpose(taps, (0, 2, 1))


def input_slope(graph: GraphBuilder, shape: ConvolutionShape, slope: Value, weight: Value) -> Value:
    """Slopes times weights gives the patches' slopes; a place adds up those it was copied to."""
    product = graph.gemm(_rows(graph, shape, slope), _matrix(graph, shape, weight))
    count = shape.result[0] * shape.kernel[0]
    copies: list[list[int]] = [[] for _ in range(shape.size[0])]
    for copy, place in reversed(list(enumerate(_sources(shape)))):
        if place < shape.size[0]:
            copies[place].append(copy)
    patches = graph.reshape(product, (shape.batch, count, shape.channels))
    total: Value | None = None
    for turn in range(max(map(len, copies))):
        chosen = [those[turn] if turn < len(those) else count for those in copies]
        part = _pick(graph, patches, chosen)
        total = part if total is None else graph.binary("Add", total, part)
    assert total is not None, shape
    return graph.transpose(total, (0, 2, 1))


def _sources(shape: ConvolutionShape) -> list[int]:
    """For each tap of each patch the place it copies; the input's size where it is padding."""
    stride, padding, size = shape.stride[0], shape.padding[0], shape.size[0]
    places = (
        stride * patch + shape.dilation[0] * tap - padding
        for patch in range(shape.result[0])
        for tap in range(shape.kernel[0])
    )
    return [place if 0 <= place < size else size for place in places]


def _patches(graph: GraphBuilder, shape: ConvolutionShape, x: Value) -> Value:
    """Shape ``(batch * places, kernel * channels)``, the kernel's places outermost."""
    joined = _pick(graph, graph.transpose(x, (0, 2, 1)), _sources(shape))
    return graph.reshape(joined, (shape.batch * shape.result[0], shape.kernel[0] * shape.channels))


def _pick(graph: GraphBuilder, rows: Value, chosen: Sequence[int]) -> Value:
    """Rows of axis 1 in this order, zeros for the one behind the last."""
    if rows.shape[1] in chosen:
        rows = graph.pad(rows, (0, 0, 0), (0, 1, 0))
    return graph.gather(rows, chosen, 1)


def _matrix(graph: GraphBuilder, shape: ConvolutionShape, weight: Value) -> Value:
    """Shape ``(outputs, kernel * channels)``."""
    taps = graph.transpose(weight, (0, 2, 1))
    return graph.reshape(taps, (shape.outputs, shape.kernel[0] * shape.channels))


def _rows(graph: GraphBuilder, shape: ConvolutionShape, slope: Value) -> Value:
    """Shape ``(batch * places, outputs)``."""
    places_last = graph.transpose(slope, (0, 2, 1))
    return graph.reshape(places_last, (shape.batch * shape.result[0], shape.outputs))
