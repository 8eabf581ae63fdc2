"""Convolution by onnxruntime's own operators."""

from __future__ import annotations

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.ops.convolution_shape import ConvolutionShape
from cloud.compiler.value import Value


def forward(
    graph: GraphBuilder, shape: ConvolutionShape, x: Value, weight: Value, bias: Value | None
) -> Value:
    """``Conv``."""
    inputs = [x, weight] if bias is None else [x, weight, bias]
    return graph.one(
        "Conv",
        inputs,
        (shape.batch, shape.outputs, *shape.result),
        kernel_shape=shape.kernel,
        strides=shape.stride,
        pads=shape.padding * 2,
        dilations=shape.dilation,
        group=shape.groups,
    )


def input_slope(graph: GraphBuilder, shape: ConvolutionShape, slope: Value, weight: Value) -> Value:
    """``ConvTranspose``; its output padding makes up for what the stride left over."""
    left_over = tuple(
        size - ((result - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1)
        for size, result, stride, padding, dilation, kernel in zip(
            shape.size,
            shape.result,
            shape.stride,
            shape.padding,
            shape.dilation,
            shape.kernel,
            strict=True,
        )
    )
    return graph.one(
        "ConvTranspose",
        [slope, weight],
        (shape.batch, shape.channels, *shape.size),
        kernel_shape=shape.kernel,
        strides=shape.stride,
        pads=shape.padding * 2,
        dilations=shape.dilation,
        output_padding=left_over,
        group=shape.groups,
    )


def weight_slope(graph: GraphBuilder, shape: ConvolutionShape, slope: Value, x: Value) -> Value:
    """A convolution in which batch and channels change places, as do stride and dilation.

    For one group only: onnxruntime takes several times as long as the taps do where there are more.
    """
    assert shape.groups == 1, shape
    axes = tuple(range(2, x.rank))
    after = [
        stride * (result - 1) + dilation * (kernel - 1) + 1 - size - padding
        for stride, result, dilation, kernel, size, padding in zip(
            shape.stride,
            shape.result,
            shape.dilation,
            shape.kernel,
            shape.size,
            shape.padding,
            strict=True,
        )
    ]
    swapped = graph.pad(graph.transpose(x, (1, 0, *axes)), [0, 0, *shape.padding], [0, 0, *after])
    found = graph.one(
        "Conv",
        [swapped, graph.transpose(slope, (1, 0, *axes))],
        (shape.channels, shape.outputs, *shape.kernel),
        kernel_shape=shape.result,
        strides=shape.dilation,
        dilations=shape.stride,
    )
    return graph.transpose(found, (1, 0, *axes))
