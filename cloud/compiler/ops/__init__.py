"""Lowerings of aten operations, one idea a file; importing this package registers all of them."""

from __future__ import annotations

from cloud.compiler.ops import (
    activation,
    arithmetic,
    batch_norm,
    choice,
    conversion,
    convolution,
    embedding,
    group_norm,
    layer_norm,
    making,
    matrix,
    pooling,
    reduction,
    shape,
    softmax,
)

__all__ = [
    "activation",
    "arithmetic",
    "batch_norm",
    "choice",
    "conversion",
    "convolution",
    "embedding",
    "group_norm",
    "layer_norm",
    "making",
    "matrix",
    "pooling",
    "reduction",
    "shape",
    "softmax",
]
