"""An open graph, as far as training and evaluation need one; onnxruntime's sessions are such."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy.typing as npt

Array = npt.NDArray[Any]


class Slot(Protocol):
    """One input or output of a graph."""

    @property
    def name(self) -> str:
        """What a feed or a wish calls it."""
        ...

    @property
    def type(self) -> str:
        """Its type as onnxruntime calls it, such as ``tensor(float)``."""
        ...

    @property
    def shape(self) -> Any:  # noqa: ANN401 (onnxruntime's stubs know no more)
        """Its sizes, all fixed."""
        ...


class OpenGraph(Protocol):
    """Runs one compiled graph."""

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, Array]) -> Any:  # noqa: ANN401
        """The outputs of these names, as arrays, in their order.

        Args:
            output_names: Which of ``get_outputs``.
            input_feed: An array for each of ``get_inputs``, of its shape and dtype.
        """
        ...

    def get_inputs(self) -> Sequence[Slot]:
        """What it takes."""
        ...

    def get_outputs(self) -> Sequence[Slot]:
        """What it gives."""
        ...
