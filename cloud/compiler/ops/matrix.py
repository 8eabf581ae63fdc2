"""Products of matrices: linear layers and their gradients."""

from __future__ import annotations

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.registry import lowers
from cloud.compiler.value import Value


@lowers("t.default")
def transpose(graph: GraphBuilder, x: Value) -> Value:
    """Swap the axes of a matrix; a vector stays."""
    return graph.transpose(x, (1, 0)) if x.rank == 2 else x


@lowers("mm.default")
def matrix_product(graph: GraphBuilder, a: Value, b: Value) -> Value:
    """``a b``; onnxruntime takes transposed operands as they are."""
    a, transpose_a = graph.untransposed(a)
    b, transpose_b = graph.untransposed(b)
    return graph.gemm(a, b, transpose_a=transpose_a, transpose_b=transpose_b)


@lowers("addmm.default")
def matrix_product_plus_bias(graph: GraphBuilder, bias: Value, a: Value, b: Value) -> Value:
    """``a b + bias``."""
    a, transpose_a = graph.untransposed(a)
    b, transpose_b = graph.untransposed(b)
    return graph.gemm(a, b, bias, transpose_a=transpose_a, transpose_b=transpose_b)


@lowers("bmm.default")
def batched_product(graph: GraphBuilder, a: Value, b: Value) -> Value:
    """``a[i] b[i]`` for every ``i``."""
    return graph.matmul(a, b)
