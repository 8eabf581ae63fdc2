"""Convolution and its gradients: reads the arguments and hands over to the chosen lowering.

``conv``: onnxruntime's own convolutions; the weight gradient is one with batch and channels
swapped. ``taps``: the same, but the weight gradient is one matrix product for each kernel element,
which needs little memory, and which more groups than one always take. ``gemm``: patches are copied
into a matrix once, then all three passes are matrix products; it covers one axis and one group, and
the rest is lowered as ``taps``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.ops import convolution_conv, convolution_gemm, convolution_taps
from cloud.compiler.ops.convolution_shape import ConvolutionShape
from cloud.compiler.registry import UnsupportedError, lowers
from cloud.compiler.value import Value

ConvolutionLowering = Literal["conv", "taps", "gemm"]
LOWERING_NAMES: tuple[ConvolutionLowering, ...] = get_args(ConvolutionLowering)


@lowers("convolution.default")
def convolution(
    graph: GraphBuilder,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Value:
    """``y[b, o] = bias[o] + sum over c, k of weight[o, c, k] x[b, c, stride i + dilation k]``.

    With groups an output sees the channels of its own group alone, and ``c`` counts these.
    """
    shape = _shape(x, weight, stride, padding, dilation, transposed, groups)
    if graph.lowering == "gemm" and shape.suits_gemm:
        return convolution_gemm.forward(graph, shape, x, weight, bias)
    return convolution_conv.forward(graph, shape, x, weight, bias)


@lowers("convolution_backward.default")
def convolution_backward(
    graph: GraphBuilder,
    slope: Value,
    x: Value,
    weight: Value,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    wanted: Sequence[bool],
) -> tuple[Value | None, Value | None, Value | None]:
    """Slopes of the input, the weight and the bias, as far as they are wanted."""
    shape = _shape(x, weight, stride, padding, dilation, transposed, groups)
    if graph.lowering == "gemm" and shape.suits_gemm:
        input_slope, weight_slope = convolution_gemm.input_slope, convolution_gemm.weight_slope
    else:
        input_slope = convolution_conv.input_slope
        by_conv = graph.lowering == "conv" and shape.groups == 1
        weight_slope = (convolution_conv if by_conv else convolution_taps).weight_slope
    return (
        input_slope(graph, shape, slope, weight) if wanted[0] else None,
        weight_slope(graph, shape, slope, x) if wanted[1] else None,
        _bias_slope(graph, slope) if wanted[2] else None,
    )


def _bias_slope(graph: GraphBuilder, slope: Value) -> Value:
    flat = graph.reshape(slope, (*slope.shape[:2], slope.size // (slope.shape[0] * slope.shape[1])))
    rows = graph.reduce("ReduceSum", flat, [2], keep=True)
    return graph.reduce("ReduceSum", rows, [0, 2], keep=False)


def _shape(
    x: Value,
    weight: Value,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    groups: int,
) -> ConvolutionShape:
    if transposed:
        raise UnsupportedError("transposed convolution is not compiled")
    rank = x.rank - 2
    if rank not in (1, 2):
        raise UnsupportedError(f"{rank} spatial axes: only 1 and 2 are compiled")
    return ConvolutionShape(
        batch=x.shape[0],
        channels=x.shape[1],
        outputs=weight.shape[0],
        size=x.shape[2:],
        kernel=weight.shape[2:],
        stride=_each(stride, rank),
        padding=_each(padding, rank),
        dilation=_each(dilation, rank),
        groups=groups,
    )


def _each(numbers: Sequence[int], rank: int) -> tuple[int, ...]:
    return tuple(numbers) * rank if len(numbers) == 1 else tuple(numbers)
