"""Convolution along one axis as matrix products over copied patches.

The input is laid out channels last, padded at both ends, and cut into blocks of ``stride`` places.
A patch of ``k`` places is then the head of ``ceil(k / stride)`` neighbouring blocks, so the matrix
of all patches is a join of a few long slices and the stride costs nothing. Forward, weight slope
and input slope are one product each, of ``batch * places`` rows.
"""

from __future__ import annotations

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.ops.convolution_shape import ConvolutionShape
from cloud.compiler.value import Value


def forward(
    graph: GraphBuilder, shape: ConvolutionShape, x: Value, weight: Value, bias: Value | None
) -> Value:
    """Patches times weights."""
    product = graph.gemm(_patches(graph, shape, x), _matrix(graph, shape, weight), bias)
    rows = graph.reshape(product, (shape.batch, shape.result[0], shape.outputs))
    return graph.transpose(rows, (0, 2, 1))


def weight_slope(graph: GraphBuilder, shape: ConvolutionShape, slope: Value, x: Value) -> Value:
    """Patches transposed times slopes; the patches are those of the forward pass."""
    product = graph.gemm(_patches(graph, shape, x), _rows(graph, shape, slope), transpose_a=True)
    taps = graph.reshape(product, (shape.kernel[0], shape.channels, shape.outputs))
    return graph.transpose(taps, (2, 1, 0))


def input_slope(graph: GraphBuilder, shape: ConvolutionShape, slope: Value, weight: Value) -> Value:
    """Slopes times weights transposed gives the patches' slopes; add them where patches overlap."""
    stride, places = shape.stride[0], shape.result[0]
    product = graph.gemm(
        _rows(graph, shape, slope), _matrix(graph, shape, weight), transpose_b=True
    )
    patches = graph.reshape(product, (shape.batch, places, shape.kernel[0] * shape.channels))
    width = stride * shape.channels
    blocks = _blocks(shape)
    parts = []
    for index, start in enumerate(range(0, patches.shape[2], width)):
        stop = min(start + width, patches.shape[2])
        part = graph.slice(patches, 2, start, stop)
        after = (0, blocks - places - index, width - (stop - start))
        parts.append(graph.pad(part, (0, index, 0), after))
    total = parts[0]
    for part in parts[1:]:
        total = graph.binary("Add", total, part)
    places_last = graph.reshape(total, (shape.batch, blocks * stride, shape.channels))
    end = shape.padding[0] + shape.size[0]
    missing = max(0, end - blocks * stride)  # places behind the last patch
    inner = graph.slice(places_last, 1, shape.padding[0], end - missing)
    return graph.transpose(graph.pad(inner, (0, 0, 0), (0, missing, 0)), (0, 2, 1))


def _blocks(shape: ConvolutionShape) -> int:
    """How many blocks of ``stride`` places the patches reach over."""
    stride = shape.stride[0]
    return shape.result[0] - 1 + -(-shape.kernel[0] // stride)


def _patches(graph: GraphBuilder, shape: ConvolutionShape, x: Value) -> Value:
    """Shape ``(batch * places, kernel * channels)``, the kernel's places outermost."""
    stride, places = shape.stride[0], shape.result[0]
    blocks = _blocks(shape)
    places_last = graph.transpose(x, (0, 2, 1))
    after = blocks * stride - shape.padding[0] - shape.size[0]  # negative: never looked at
    padded = graph.pad(places_last, (0, shape.padding[0], 0), (0, after, 0))
    width = stride * shape.channels
    cut = graph.reshape(padded, (shape.batch, blocks, width))
    parts = []
    for index, start in enumerate(range(0, shape.kernel[0] * shape.channels, width)):
        part = graph.slice(cut, 1, index, index + places)
        parts.append(graph.slice(part, 2, 0, min(width, shape.kernel[0] * shape.channels - start)))
    joined = graph.concat(parts, 2)
    return graph.reshape(joined, (shape.batch * places, shape.kernel[0] * shape.channels))


def _matrix(graph: GraphBuilder, shape: ConvolutionShape, weight: Value) -> Value:
    """Shape ``(kernel * channels, outputs)``."""
    taps = graph.transpose(weight, (2, 1, 0))
    return graph.reshape(taps, (shape.kernel[0] * shape.channels, shape.outputs))


def _rows(graph: GraphBuilder, shape: ConvolutionShape, slope: Value) -> Value:
    """Shape ``(batch * places, outputs)``."""
    places_last = graph.transpose(slope, (0, 2, 1))
    return graph.reshape(places_last, (shape.batch * shape.result[0], shape.outputs))
