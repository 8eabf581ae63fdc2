"""Dropout in torch by masks that are given, in place of torch's own random numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fedtier.errors import ConfigError

MaskOf = Callable[[tuple[int, ...], float], torch.Tensor]
"""From a mask's shape and the probability of keeping, in (0, 1), to the mask."""

_WHOLE = (functional.dropout,)
_CHANNELS = (functional.dropout1d, functional.dropout2d, functional.dropout3d)


class MaskedDropout(TorchFunctionMode):
    """While it is entered, dropout that acts multiplies its input by a mask.

    ``Dropout``, ``Dropout1d`` to ``Dropout3d`` and their functions ask for a mask each time they
    are called, in the order of their calls; in evaluation and at ``p = 0`` they do nothing.
    """

    def __init__(self, mask_of: MaskOf) -> None:
        super().__init__()
        self._mask_of = mask_of

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function returns
        """Replace a function of dropout; leave every other as it is."""
        if func in _WHOLE or func in _CHANNELS:
            return self._dropped(*args, channels=func in _CHANNELS, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _dropped(
        self,
        input: torch.Tensor,
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
        *,
        channels: bool,
    ) -> torch.Tensor:
        if not training or p == 0.0:
            return input
        if not 0.0 < p < 1.0:
            raise ConfigError(f"the module has dropout with p = {p}. Use one from 0 to below 1.")
        if inplace:
            raise ConfigError("the module has dropout with inplace=True. Use inplace=False.")
        shape = tuple(input.shape)
        if channels:
            shape = (*shape[:2], *(1 for _ in shape[2:]))
        return input * self._mask_of(shape, 1.0 - p)
