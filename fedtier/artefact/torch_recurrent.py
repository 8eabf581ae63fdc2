"""Recurrent layers of torch one after the other, so that dropout may act between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

_RECURRENT = (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu)


def drops_between(func: Callable[..., Any], args: Sequence[Any]) -> bool:
    """Whether a call of torch is of a recurrent layer that would drop something.

    Args:
        func: The function of torch.
        args: As ``LSTM``, ``GRU`` and ``RNN`` give them, of a batch that is not packed: input,
            first states, weights, whether there are biases, layers, dropout, training, both ways,
            batch first.
    """
    if func not in _RECURRENT or len(args) != 9 or not isinstance(args[3], bool):
        return False
    layers, dropout, training = args[4:7]
    return bool(layers > 1 and dropout and training)


def one_after_the_other(
    func: Callable[..., Any],
    args: Sequence[Any],
    *,
    between: Callable[[torch.Tensor, float], torch.Tensor],
) -> tuple[torch.Tensor, ...]:
    """Make a call of which ``drops_between`` is true, with something between each two layers.

    Args:
        func: The function of torch.
        args: As above.
        between: From an output and the probability of dropping to what the next layer takes.

    Returns:
        What the function returns: the output of the last layer, then the last states of all.
    """
    x, first, weights, biases, layers, dropout, training, both_ways, batch_first = args
    states = first if func is torch.lstm else (first,)
    ways, own = 2 if both_ways else 1, len(weights) // layers
    last: list[tuple[torch.Tensor, ...]] = []
    for layer in range(layers):
        begin = tuple(state[layer * ways : (layer + 1) * ways] for state in states)
        x, *end = func(
            x if layer == 0 else between(x, dropout),
            begin if func is torch.lstm else begin[0],
            weights[layer * own : (layer + 1) * own],
            biases, 1, 0.0, training, both_ways, batch_first,
        )  # fmt: skip
        last.append(tuple(end))
    return (x, *(torch.cat(ends) for ends in zip(*last, strict=True)))
