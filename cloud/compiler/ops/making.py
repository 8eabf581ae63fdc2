"""Tensors made of nothing but their shape: filled, counted, scalar."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.ops.conversion import compiled_dtype, number_dtype
from cloud.compiler.registry import lowers
from cloud.compiler.value import Dtype, Value


@lowers("arange.default", "arange.start", "arange.start_step")
def count(
    graph: GraphBuilder, *bounds: float, dtype: torch.dtype | None = None, **_: object
) -> Value:
    """Numbers ``start, start + step, ...`` below the end."""
    kind = _kind(sum(bounds), dtype)
    return graph.constant(np.arange(*bounds), kind)


@lowers("full.default")
def full(
    graph: GraphBuilder,
    shape: Sequence[int],
    content: float,
    dtype: torch.dtype | None = None,
    **_: object,
) -> Value:
    """One number everywhere."""
    return graph.expand(graph.constant(content, _kind(content, dtype)), shape)


@lowers("full_like.default")
def full_like(
    graph: GraphBuilder, x: Value, content: float, dtype: torch.dtype | None = None, **_: object
) -> Value:
    """One number in another tensor's shape."""
    kind = x.dtype if dtype is None else compiled_dtype(dtype)
    return graph.expand(graph.constant(content, kind), x.shape)


@lowers("new_zeros.default", "new_empty.default", "new_empty_strided.default")
def zeros(
    graph: GraphBuilder,
    x: Value,
    shape: Sequence[int],
    strides: Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
    **_: object,
) -> Value:
    """Zeros of a tensor's type."""
    kind = x.dtype if dtype is None else compiled_dtype(dtype)
    return graph.expand(graph.constant(0, kind), shape)


@lowers("scalar_tensor.default")
def scalar(
    graph: GraphBuilder, content: float, dtype: torch.dtype | None = None, **_: object
) -> Value:
    """One number."""
    return graph.constant(content, _kind(content, dtype))


def _kind(content: float, dtype: torch.dtype | None) -> Dtype:
    return number_dtype(content) if dtype is None else compiled_dtype(dtype)
