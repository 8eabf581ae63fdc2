"""Lowerings of aten operations, one idea a file; importing this package registers all of them."""

from __future__ import annotations

from cloud.compiler.ops import (
    activation,
    arithmetic,
    classes,
    convolution,
    group_norm,
    matrix,
    pooling,
    reduction,
    shape,
)

__all__ = [
    "activation",
    "arithmetic",
    "classes",
    "convolution",
    "group_norm",
    "matrix",
    "pooling",
    "reduction",
    "shape",
]
