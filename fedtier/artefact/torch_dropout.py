"""Dropout in torch by masks that are given, in place of torch's own random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fedtier.artefact.torch_recurrent import drops_between, one_after_the_other
from fedtier.errors import ConfigError

MaskOf = Callable[[tuple[int, ...], float], torch.Tensor]
"""From a mask's shape and the probability of keeping, in (0, 1), to the mask."""

_WHOLE = (functional.dropout,)
_CHANNELS = (functional.dropout1d, functional.dropout2d, functional.dropout3d)
_ATTEND = functional.scaled_dot_product_attention


class MaskedDropout(TorchFunctionMode):
    """While it is entered, dropout that acts multiplies its input by a mask.

    ``Dropout``, ``Dropout1d`` to ``Dropout3d``, attention and their functions ask for a mask each
    time they are called, in the order of their calls, and ``LSTM``, ``GRU`` and ``RNN`` for one
    between each two layers; in evaluation and at ``p = 0`` none is asked for.
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
        if func is _ATTEND:
            return self._attended(*args, **(kwargs or {}))
        if drops_between(func, args):
            return one_after_the_other(
                func, args, between=lambda x, p: self._dropped(x, p, channels=False)
            )
        if func is functional.multi_head_attention_forward:
            # A mode is not asked about what a function it was given calls in turn.
            with self._inside():
                return func(*args, **(kwargs or {}))
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

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """The functions of ``torch.nn.functional`` that attention calls, by way of this."""
        drop = functional.dropout
        functional.scaled_dot_product_attention = self._attended
        functional.dropout = lambda *args, **kwargs: self._dropped(*args, channels=False, **kwargs)
        try:
            yield
        finally:
            functional.scaled_dot_product_attention, functional.dropout = _ATTEND, drop

    def _attended(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        """Attention whose weights are dropped, as torch's documentation writes it out."""
        if dropout_p == 0.0 or enable_gqa:
            return _ATTEND(
                query, key, value, attn_mask, dropout_p, is_causal,
                scale=scale, enable_gqa=enable_gqa,
            )  # fmt: skip
        factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = query @ key.transpose(-2, -1) * factor
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -math.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        return self._dropped(scores.softmax(dim=-1), dropout_p, channels=False) @ value
