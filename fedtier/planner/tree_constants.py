"""What the bound needs to know of a tree: how the devices' weights are shared out over its tiers.

Notation: devices ``i`` have weights ``p_i > 0`` that sum to 1; ``P_v`` is the weight beneath a node
``v``; ``anc_n(v)`` is the ancestor of ``v`` on tier ``n``, of a node on tier ``n`` itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from fedtier.errors import ConfigError

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TreeConstants:
    """Constants of one tree of ``N`` links; indices are those of the formulas, from 1.

    Attributes:
        s: ``s[n-1] = sum_i p_i^2 / P_anc_{n-1}(i)`` for n = 1..N+1: what is left of independent
            noise after averaging above tier n-1.
        r: ``r[m, n]``, the largest share that a node on tier m-1 has of its ancestor on tier n-1,
            for 1 <= m <= n <= N+1; elsewhere 0. Shape (N+2, N+2).
        rt: ``rt[m, n]``, the largest ``P_d (1/P_anc_{n-1}(d) - 1/P_anc_n(d))`` of a node d on tier
            m-1, for 1 <= m < n <= N; elsewhere 0.
        rho: ``rho[m, n] = sum_d P_d^2 / P_anc_{n-1}(d)`` over the nodes d on tier m-1, for
            1 <= m <= n <= N+1; elsewhere 0.
    """

    s: tuple[float, ...]
    r: Weights
    rt: Weights
    rho: Weights

    @property
    def links(self) -> int:
        """N, the number of links from a device to the cloud."""
        return len(self.s) - 1

    @classmethod
    def of(cls, parents: Sequence[Sequence[int]], weights: Sequence[float] | None = None) -> Self:
        """The constants of any tree whose devices are all N links below the cloud.

        Args:
            parents: For each tier from the devices' up to the one below the cloud, the position of
                every node's parent on the next tier: ``[[0, 0, 1, 1], [0, 0]]`` are four devices
                in two pairs.
            weights: Of the devices, > 0, in any unit; None for equal ones.

        Raises:
            ConfigError: If the positions are not those of one tree, or a weight is not > 0.
        """
        _check(parents, weights)
        given = np.ones(len(parents[0])) if weights is None else np.asarray(weights, np.float64)
        beneath = [given / given.sum()]
        for above in parents:
            beneath.append(np.bincount(above, weights=beneath[-1]))
        tiers = len(parents)
        ancestor_weights = [_ancestor_weights(beneath, parents, tier) for tier in range(tiers + 1)]
        r, rt, rho = (np.zeros((tiers + 2, tiers + 2)) for _ in range(3))
        for m in range(1, tiers + 2):
            own = beneath[m - 1]
            above_it = ancestor_weights[m - 1]  # of tiers m-1, m, ..., N
            for n in range(m, tiers + 2):
                shares = own / above_it[n - m]
                r[m, n] = shares.max()
                rho[m, n] = (own * shares).sum()
                if m < n <= tiers:
                    rt[m, n] = (shares - own / above_it[n - m + 1]).max()
        s = tuple(float(rho[1, n]) for n in range(1, tiers + 2))
        return cls(s=s, r=r, rt=rt, rho=rho)

    @classmethod
    def balanced(cls, fan_in: Sequence[int]) -> Self:
        """The constants of equal weights and one fan-in per tier, from the devices up.

        Args:
            fan_in: Children of every node on tier 1, of every node on tier 2, ...; each >= 1.
        """
        counts = [1]
        for children in reversed(fan_in):
            counts.insert(0, counts[0] * children)
        levels = zip(counts, fan_in, strict=False)
        return cls.of([[node // children for node in range(count)] for count, children in levels])


def _ancestor_weights(
    beneath: Sequence[Weights], parents: Sequence[Sequence[int]], tier: int
) -> list[Weights]:
    """For every node of a tier the weight of itself, of its parent, and so on to the cloud."""
    position = np.arange(len(beneath[tier]))
    found = [beneath[tier]]
    for above in range(tier, len(parents)):
        position = np.asarray(parents[above])[position]
        found.append(beneath[above + 1][position])
    return found


def _check(parents: Sequence[Sequence[int]], weights: Sequence[float] | None) -> None:
    if not parents or not parents[0]:
        raise ConfigError("a tree needs a link and a device: give parents for one tier at least")
    for tier, above in enumerate(parents):
        nodes = len(parents[tier + 1]) if tier + 1 < len(parents) else 1
        if set(above) != set(range(nodes)):
            raise ConfigError(
                f"parents of tier {tier}: the positions are {sorted(set(above))}, but every one of "
                f"0 to {nodes - 1} must occur, since tier {tier + 1} has {nodes} nodes"
            )
    if weights is not None and (len(weights) != len(parents[0]) or not min(weights) > 0):
        raise ConfigError(
            f"weights: {len(parents[0])} numbers > 0 are needed, one for each device; "
            f"given are {len(weights)}, the least of them {min(weights, default=None)}"
        )
