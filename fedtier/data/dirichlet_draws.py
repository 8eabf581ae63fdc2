"""Proportions drawn from a symmetric Dirichlet distribution, by address."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fedtier.draws import DrawKey, draw_key, normal, uniform01

Floats = npt.NDArray[np.float64]


def dirichlet_shares(alpha: float, count: int, *, seed: int, address: str) -> Floats:
    """Draw ``count`` proportions, >= 0, that add up to 1.

    Args:
        alpha: The concentration, > 0.
        count: How many, >= 1.
        seed: 64 bits.
        address: What the proportions are for; another address, other proportions.
    """
    logs = _log_gammas(alpha, count, seed=seed, address=address)
    # By logarithms: with a small alpha nearly all gamma variates underflow.
    weights = np.exp(logs - logs.max())
    shares: Floats = weights / weights.sum()
    return shares


def _log_gammas(alpha: float, count: int, *, seed: int, address: str) -> Floats:
    """Logarithms of ``count`` draws of Gamma(``alpha``).

    Marsaglia and Tsang's rejection for shape ``alpha + 1`` (ACM TOMS 26, 2000), then
    ``Gamma(alpha) = Gamma(alpha + 1) * U ** (1 / alpha)``.
    """

    def key(tensor: str, purpose: str) -> DrawKey:
        return draw_key(seed=seed, path="", node="", tensor=tensor, purpose=f"partition.{purpose}")

    d = alpha + 2.0 / 3.0
    c = 1.0 / np.sqrt(9.0 * d)
    logs = np.full(count, np.nan)
    trial = 0
    while np.isnan(logs).any():  # a trial is accepted with a probability above 0.95
        x = normal(key(f"{address}.{trial}", "normal"), count)
        cubes = np.maximum(1.0 + c * x, 1e-6) ** 3
        bound = 0.5 * x * x + d * (1.0 - cubes + np.log(cubes))
        uniform = uniform01(key(f"{address}.{trial}", "accept"), count)
        accepted = (1.0 + c * x > 1e-6) & (np.log(1.0 - uniform) < bound)
        logs = np.where(np.isnan(logs) & accepted, np.log(d * cubes), logs)
        trial += 1
    powers: Floats = logs + np.log(1.0 - uniform01(key(address, "power"), count)) / alpha
    return powers
