"""Batch normalisation: by the batch's statistics in training, by the running ones afterwards.

With ``c = x - mean`` of its channel, ``r = 1 / sqrt(var + eps)`` and ``N`` elements in a channel::

    y      = c r gamma + beta
    dbeta  = sum(dy)                         dgamma = r sum(dy c)
    dx     = r gamma (dy - sum(dy) / N - c r^2 sum(dy c) / N)

    running mean <- (1 - m) running mean + m mean
    running var  <- (1 - m) running var + m var N / (N - 1)

Source: Ioffe and Szegedy, "Batch Normalization", ICML 2015, differentiated by hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.registry import UnsupportedError, lowers
from cloud.compiler.value import Value

_aten: Any = torch.ops.aten
_Normalised = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # and mean and inverse deviation


def split_batch_norm(
    x: torch.Tensor,
    gamma: torch.Tensor | None,
    beta: torch.Tensor | None,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> _Normalised:
    """The operation that overwrites its running statistics, as one that returns new ones.

    To be given to torch as a decomposition: its own operation does not show in a recorded graph
    that it writes.
    """
    if running_mean is None or running_var is None:
        bare: _Normalised = _aten._native_batch_norm_legit.no_stats(
            x, gamma, beta, training, momentum, eps
        )
        return bare
    if not training:
        evaluated: _Normalised = _aten._native_batch_norm_legit_no_training.default(
            x, gamma, beta, running_mean, running_var, momentum, eps
        )
        return evaluated
    y, mean, inverse, new_mean, new_var = _aten._native_batch_norm_legit_functional.default(
        x, gamma, beta, running_mean, running_var, training, momentum, eps
    )
    running_mean.copy_(new_mean)
    running_var.copy_(new_var)
    return y, mean, inverse


@lowers("_native_batch_norm_legit.no_stats")
def normalise(
    graph: GraphBuilder,
    x: Value,
    gamma: Value | None,
    beta: Value | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Value, Value, Value]:
    """The normalised tensor, and the mean and inverse deviation of every channel."""
    y, mean, inverse, _ = _normalise(graph, x, gamma, beta, eps)
    return y, mean, inverse


@lowers("_native_batch_norm_legit_functional.default")
def normalise_and_follow(
    graph: GraphBuilder,
    x: Value,
    gamma: Value | None,
    beta: Value | None,
    running_mean: Value,
    running_var: Value,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Value, Value, Value, Value, Value]:
    """The same, and the running statistics after this batch."""
    y, mean, inverse, variance = _normalise(graph, x, gamma, beta, eps)
    count = x.size // x.shape[1]
    if count == 1:
        raise UnsupportedError("a channel has one element in a batch, and so no variance")
    unbiased = momentum * count / (count - 1)
    return (
        y,
        mean,
        inverse,
        _follow(graph, running_mean, graph.binary("Mul", mean, momentum), momentum),
        _follow(graph, running_var, graph.binary("Mul", variance, unbiased), momentum),
    )


@lowers("_native_batch_norm_legit_no_training.default")
def normalise_by_running(
    graph: GraphBuilder,
    x: Value,
    gamma: Value | None,
    beta: Value | None,
    running_mean: Value,
    running_var: Value,
    momentum: float,
    eps: float,
) -> tuple[Value, None, None]:
    """The tensor normalised by what earlier batches left.

    A variance below 0, which a sum of rounded updates may give, counts as 0.
    """
    channels = (x.shape[1],)
    ones = graph.expand(graph.constant(1.0, "float32"), channels)
    zeros = graph.expand(graph.constant(0.0, "float32"), channels)
    variance = graph.binary("Max", running_var, 0.0)
    inputs = [x, gamma or ones, beta or zeros, running_mean, variance]
    return graph.one("BatchNormalization", inputs, x.shape, epsilon=float(eps)), None, None


@lowers("native_batch_norm_backward.default")
def batch_norm_backward(
    graph: GraphBuilder,
    slope: Value,
    x: Value,
    gamma: Value | None,
    running_mean: Value | None,
    running_var: Value | None,
    mean: Value | None,
    inverse: Value | None,
    training: bool,
    eps: float,
    wanted: Sequence[bool],
) -> tuple[Value | None, Value | None, Value | None]:
    """Slopes of the input, of gamma and of beta, as far as they are wanted."""
    if not training or mean is None or inverse is None:
        raise UnsupportedError("training by running statistics is not compiled; use train mode")
    dy, rows = _by_channel(graph, slope), _by_channel(graph, x)
    channel = (1, x.shape[1], 1)
    share = 1.0 / (x.size // x.shape[1])
    # The builder finds this one in the forward pass again.
    centred = graph.binary("Sub", rows, graph.reshape(mean, channel))
    s1 = _sum(graph, dy)
    s2 = _sum(graph, graph.binary("Mul", dy, centred))
    r = graph.reshape(inverse, channel)
    dgamma = graph.binary("Mul", s2, r)
    dx = None
    if wanted[0]:
        scale = r if gamma is None else graph.binary("Mul", r, graph.reshape(gamma, channel))
        along = graph.binary("Mul", graph.binary("Mul", dgamma, r), share)
        rest = graph.binary("Sub", dy, graph.binary("Mul", s1, share))
        rest = graph.binary("Sub", rest, graph.binary("Mul", centred, along))
        dx = graph.reshape(graph.binary("Mul", rest, scale), x.shape)
    return (
        dx,
        graph.reshape(dgamma, (x.shape[1],)) if wanted[1] else None,
        graph.reshape(s1, (x.shape[1],)) if wanted[2] else None,
    )


def _normalise(
    graph: GraphBuilder, x: Value, gamma: Value | None, beta: Value | None, eps: float
) -> tuple[Value, Value, Value, Value]:
    rows = _by_channel(graph, x)
    channel, share = (1, x.shape[1], 1), 1.0 / (x.size // x.shape[1])
    mean = graph.binary("Mul", _sum(graph, rows), share)
    centred = graph.binary("Sub", rows, mean)
    variance = graph.binary("Mul", _sum(graph, graph.binary("Mul", centred, centred)), share)
    deviation = graph.unary("Sqrt", graph.binary("Add", variance, float(eps)))
    inverse = graph.unary("Reciprocal", deviation)
    scale = (
        inverse if gamma is None else graph.binary("Mul", inverse, graph.reshape(gamma, channel))
    )
    y = graph.binary("Mul", centred, scale)
    if beta is not None:
        y = graph.binary("Add", y, graph.reshape(beta, channel))
    mean, inverse, variance = (
        graph.reshape(number, (x.shape[1],)) for number in (mean, inverse, variance)
    )
    return graph.reshape(y, x.shape), mean, inverse, variance


def _follow(graph: GraphBuilder, running: Value, step: Value, momentum: float) -> Value:
    return graph.binary("Add", graph.binary("Mul", running, 1.0 - momentum), step)


def _by_channel(graph: GraphBuilder, x: Value) -> Value:
    """Shape ``(batch, channels, places)``."""
    return graph.reshape(x, (*x.shape[:2], math.prod(x.shape[2:])))


def _sum(graph: GraphBuilder, rows: Value) -> Value:
    """Over batch and places, shape ``(1, channels, 1)``; the long axis first, as it lies."""
    return graph.reduce(
        "ReduceSum", graph.reduce("ReduceSum", rows, [2], keep=True), [0], keep=True
    )
