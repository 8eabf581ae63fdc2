"""The algorithm again, in plain float64 numpy: no machine, no message, no codec."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from world_shapes import Shape

Gradient = Callable[[str, np.ndarray], np.ndarray]


def run_round(
    shape: Shape, tau: Sequence[int], mu: float, gradient: Gradient, x: np.ndarray
) -> np.ndarray:
    """``run(cloud, x, 1)``: the recursion over the tree, virtual tiers and all."""

    def improved(node: str, parent_tier: int, x: np.ndarray) -> np.ndarray:
        if node not in shape.tiers:
            for _ in range(math.prod(tau[:parent_tier])):
                x = x - mu * gradient(node, x)
            return x
        tier = shape.tiers[node]
        for _ in range(math.prod(tau[tier:parent_tier])):
            x = aggregated(node, tier, x)
        return x

    def aggregated(node: str, tier: int, x: np.ndarray) -> np.ndarray:
        total = shape.weight(node)
        shares = [
            shape.weight(child) / total * (improved(child, tier, x) - x)
            for child in shape.children(node)
        ]
        return x + sum(shares)

    return aggregated("cloud", shape.height, np.asarray(x, np.float64))


def fedavg(
    models: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    weights: Mapping[str, int],
    x: np.ndarray,
) -> np.ndarray:
    """McMahan et al. 2017, Algorithm 1: the weighted mean of the clients' models."""
    total = sum(weights.values())
    return sum(weights[client] / total * update(x) for client, update in models.items())


def hierfavg(
    edges: Mapping[str, Sequence[str]],
    step: Callable[[str, np.ndarray], np.ndarray],
    weights: Mapping[str, int],
    x: np.ndarray,
    *,
    kappa_1: int,
    kappa_2: int,
) -> np.ndarray:
    """Liu et al. 2020, Algorithm 1: one cloud interval, as the paper's flat loop over steps k."""
    clients = [client for members in edges.values() for client in members]
    w = {client: x.copy() for client in clients}
    for k in range(1, kappa_1 * kappa_2 + 1):
        w = {client: step(client, w[client]) for client in clients}
        if k % kappa_1 == 0:
            for members in edges.values():
                edge = _mean({c: w[c] for c in members}, weights)
                w |= dict.fromkeys(members, edge)
    return _mean(w, weights)


def _mean(models: Mapping[str, np.ndarray], weights: Mapping[str, int]) -> np.ndarray:
    total = sum(weights[client] for client in models)
    return sum(weights[client] / total * model for client, model in models.items())
