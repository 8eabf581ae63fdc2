"""What a loss over classes needs: log-softmax, class numbers, comparison and conversion."""

from __future__ import annotations

import numpy as np
import torch

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.registry import UnsupportedError, lowers
from cloud.compiler.value import Value


@lowers("_log_softmax.default")
def log_softmax(graph: GraphBuilder, x: Value, axis: int, half_to_float: bool) -> Value:
    """``x - log sum exp x`` along an axis."""
    return graph.unary("LogSoftmax", x, axis=axis % x.rank)


@lowers("_softmax.default")
def softmax(graph: GraphBuilder, x: Value, axis: int, half_to_float: bool) -> Value:
    """``exp x / sum exp x`` along an axis."""
    return graph.unary("Softmax", x, axis=axis % x.rank)


@lowers("arange.default", "arange.start_step")
def count(graph: GraphBuilder, *bounds: int, **options: object) -> Value:
    """Whole numbers ``start, start + step, ...`` below the end."""
    return graph.constant(np.arange(*bounds), "int64")


@lowers("eq.Tensor", "eq.Scalar")
def equal(graph: GraphBuilder, a: Value, b: Value | float) -> Value:
    """Where ``a`` equals ``b``."""
    return graph.binary("Equal", a, b, "bool")


@lowers("_to_copy.default")
def convert(graph: GraphBuilder, x: Value, dtype: torch.dtype | None = None, **_: object) -> Value:
    """The tensor as another type."""
    if dtype == torch.float32:
        return x if x.dtype == "float32" else graph.unary("Cast", x, "float32", to=1)
    if dtype is None:
        return x
    raise UnsupportedError(f"conversion to {dtype} is not compiled; use float32")
