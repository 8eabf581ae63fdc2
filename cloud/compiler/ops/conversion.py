"""Types of elements: conversion, and what torch does silently before it computes."""

from __future__ import annotations

import torch

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.registry import UnsupportedError, lowers
from cloud.compiler.value import Dtype, Value

DTYPES: dict[torch.dtype, Dtype] = {
    torch.float32: "float32",
    torch.int64: "int64",
    torch.bool: "bool",
}
_ONNX_NUMBERS: dict[Dtype, int] = {"float32": 1, "int64": 7, "bool": 9}
_ORDER: tuple[Dtype, ...] = ("bool", "int64", "float32")


@lowers("_to_copy.default")
def convert(graph: GraphBuilder, x: Value, dtype: torch.dtype | None = None, **_: object) -> Value:
    """The tensor as another type."""
    return x if dtype is None else cast(graph, x, compiled_dtype(dtype))


def compiled_dtype(dtype: torch.dtype) -> Dtype:
    """The graph's name for torch's type.

    Raises:
        UnsupportedError: If graphs have no such type.
    """
    if dtype not in DTYPES:
        raise UnsupportedError(f"type {dtype} is not compiled; use float32, int64 or bool")
    return DTYPES[dtype]


def cast(graph: GraphBuilder, x: Value, dtype: Dtype) -> Value:
    """``x`` itself where it has the type already."""
    if x.dtype == dtype:
        return x
    return graph.unary("Cast", x, dtype, to=_ONNX_NUMBERS[dtype])


def promoted(
    graph: GraphBuilder, a: Value | float, b: Value | float
) -> tuple[Value | float, Value | float]:
    """Both operands as the type that holds either: bool, then int64, then float32."""
    wanted = max((_dtype(a), _dtype(b)), key=_ORDER.index)
    return (
        cast(graph, a, wanted) if isinstance(a, Value) else a,
        cast(graph, b, wanted) if isinstance(b, Value) else b,
    )


def number_dtype(number: float) -> Dtype:
    """What torch takes one of Python's numbers for."""
    if isinstance(number, bool):  # which is an int, too
        return "bool"
    return "int64" if isinstance(number, int) else "float32"


def _dtype(operand: Value | float) -> Dtype:
    return operand.dtype if isinstance(operand, Value) else number_dtype(operand)
