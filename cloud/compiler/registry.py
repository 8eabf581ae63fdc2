"""The table from an aten operation to the function that writes it as ONNX operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cloud.compiler.value import Value

Lowered = Value | tuple[Value | None, ...]
Lowering = Callable[..., Lowered]
_F = TypeVar("_F", bound=Lowering)

LOWERINGS: dict[str, Lowering] = {}
"""``"aten.relu.default"`` -> a function of the builder and the operation's own arguments."""


class UnsupportedError(Exception):
    """An operation is known, but not with these arguments; the text says which."""


def lowers(*names: str) -> Callable[[_F], _F]:
    """Register a function as the lowering of aten operations, named without the ``aten.``.

    The function gets the ``GraphBuilder``, then the arguments of the aten operation with values in
    place of tensors, and returns a value, or a tuple of them where the operation has several
    results (``None`` for one it was not asked for).
    """

    def register(function: _F) -> _F:
        for name in names:
            assert f"aten.{name}" not in LOWERINGS, name
            LOWERINGS[f"aten.{name}"] = function
        return function

    return register
