"""An upper bound on the mean squared gradient norm of nested aggregation with quantized links.

For QMLHFL (arXiv:2505.08145) on any tree. The theorem is this project's own, for the same
algorithm; ``docs/theory.md`` states it with its proof, and names here are that page's. Everything
broadcasts: a number may be an array, so that thousands of plans are bounded at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from fedtier.planner.tree_constants import TreeConstants

_T = TypeVar("_T", bound=np.generic)

Numbers = npt.NDArray[np.float64]
Real = float | Numbers
"""A number, or an array of them, one for each plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is known of the loss functions and the links: the assumptions of the theorem.

    ``F_i`` is the loss of device ``i`` with weight ``p_i``, ``F = sum_i p_i F_i``; ``F_v`` is the
    mean over the devices beneath a node.

    Attributes:
        smoothness: L; every gradient of F_i changes at most L times as much as its argument.
        gap: ``F(w_0) - inf F``, > 0.
        gradient_variance: sigma^2, of one stochastic gradient on any device, >= 0.
        heterogeneity: zeta_n^2 for n = 1..N, each >= 0: ``sum_c P_c |grad F_c - grad F_par(c)|^2``
            over the nodes c of tier n-1.
        q: Relative variance of each link's quantizer, N numbers >= 0:
            ``E |Q_n(x) - x|^2 <= q_n |x|^2 + floor_n``.
        floor: ``delta_n^2``, the absolute part of it; None: all 0.
        smoothness_mean: Lh <= L: ``|grad F(wbar) - sum_i p_i grad F_i(w_i)|^2 <= Lh^2 V``, with the
            dispersion ``V = sum_i p_i |w_i - wbar|^2``; None: L.
        smoothness_each: Lv <= L: ``sum_i p_i |grad F_i(w_i) - grad F_i(wbar)|^2 <= Lv^2 V``;
            None: L.
    """

    smoothness: float
    gap: float
    gradient_variance: float
    heterogeneity: tuple[float, ...]
    q: tuple[float, ...]
    floor: tuple[float, ...] | None = None
    smoothness_mean: float | None = None
    smoothness_each: float | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.heterogeneity), len(self.q), len(self.floor or self.q)}
        assert len(lengths) == 1, "heterogeneity, q and floor have one number for each link"
        assert self.smoothness > 0, self.smoothness
        assert self.gap >= 0, self.gap
        assert min(self.gradient_variance, *self.heterogeneity, *self.q, *(self.floor or (0,))) >= 0


class Split(NamedTuple):
    """Free parameters of the proof: any alpha, beta > 0 and theta in (0, 1] give a valid bound."""

    alpha: Real = 1.0
    beta: Real = 1.0
    theta: Real = 1.0


_GRID = np.array(list(product((0.25, 1.0, 4.0, 16.0), (0.1, 0.3, 1.0), (0.1, 0.3, 1.0))))
SPLITS = Split(*_GRID.T)
"""A finite grid of 36: since each bound is valid, so is the least of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The bound and all it is made of; see ``bound``.

    Attributes:
        value: B, on ``(1/K) sum_k E |grad F(wbar^k)|^2`` over all K local steps; infinite where
            ``holds`` is false.
        holds: Whether ``L mu <= 1``, ``omega > 0`` and ``gamma > 0``.
        omega, gamma: What must be > 0.
        optimisation, noise, quantization, drift: The four summands, each over ``gamma``.
        cloud: The bound on ``(1/T) sum_t E |grad F(w_t)|^2`` over the cloud's models, with the best
            of its free parameter: what a measured gradient norm at the cloud is compared with.
        dispersion: On the mean of ``V``.
        increments: X_n for n = 1..N: on the mean of ``sum_c P_c |Delta_c|^2`` over tier n-1, for
            each local step.
        details: The intermediate quantities by their names in the theorem, such as ``A_1``.
    """

    value: Numbers
    holds: npt.NDArray[np.bool_]
    omega: Numbers
    gamma: Numbers
    optimisation: Numbers
    noise: Numbers
    quantization: Numbers
    drift: Numbers
    cloud: Numbers
    dispersion: Numbers
    increments: tuple[Numbers, ...]
    details: dict[str, Numbers]

    def cloud_at(self, gamma: float, *, smoothness: float) -> Numbers:
        """The bound on the cloud's models for one value > 0 of its free parameter."""
        return (1 + gamma) * self.value + (1 + 1 / gamma) * smoothness**2 * self.details["D"]


def bound(
    tree: TreeConstants,
    problem: Problem,
    *,
    tau: Sequence[Real],
    mu: Real,
    rounds: Real,
    split: Split | None = None,
) -> Bound:
    """Evaluate the theorem, term by term.

    Args:
        tree: Constants of the tree, of N links.
        problem: The assumptions' constants.
        tau: tau_1..tau_N, integers >= 1; tau_1 are local steps.
        mu: Step size, > 0.
        rounds: T, rounds of the cloud, >= 1.
        split: The proof's free parameters; None takes the one with the least bound, in each plan
            by itself.

    Returns:
        Numbers of the shape that ``tau``, ``mu`` and ``rounds`` broadcast to.
    """
    steps = _local_steps(tau)
    if split is not None:
        return _bound(tree, problem, steps, mu, rounds, split)
    plans = np.broadcast_shapes(*(np.shape(number) for number in (*steps, mu, rounds)))
    grid = Split(*(np.reshape(values, (-1, *(1 for _ in plans))) for values in SPLITS))
    each = _bound(tree, problem, steps, mu, rounds, grid)
    return _least(each, np.argmin(each.value, axis=0, keepdims=True))


def _local_steps(tau: Sequence[Real]) -> list[Numbers]:
    """S_0 = 1 and S_n = tau_1 ... tau_n."""
    steps = [np.asarray(1.0)]
    for count in tau:
        steps.append(steps[-1] * np.asarray(count, np.float64))
    return steps


def _bound(
    tree: TreeConstants,
    problem: Problem,
    S: Sequence[Numbers],
    mu: Real,
    rounds: Real,
    split: Split,
) -> Bound:
    N = tree.links
    assert len(S) == N + 1 == len(problem.q) + 1, (len(S), N, len(problem.q))
    L, sigma2, zeta2 = problem.smoothness, problem.gradient_variance, (0.0, *problem.heterogeneity)
    Lh2 = (problem.smoothness_mean or L) ** 2
    Lv2 = (problem.smoothness_each or L) ** 2
    q, delta2 = (0.0, *problem.q), (0.0, *(problem.floor or (0.0,) * N))
    s, r, rt, rho = (0.0, *tree.s), tree.r, tree.rt, tree.rho
    mu = np.asarray(mu, np.float64)
    alpha, beta, theta = split.alpha, split.beta, split.theta
    a, g = 1 + 1 / alpha, (1 + alpha) * (1 + beta) * mu**2
    Z2 = [sum(zeta2[n:]) for n in range(N + 1)]
    below = [range(1, n) for n in range(N + 2)]

    A: list[Real] = [0.0]
    C: list[Real] = [0.0]
    for n in range(1, N + 1):
        A.append(g * S[n] + a * sum(q[m] * r[m, n] * A[m] for m in below[n]))
        C.append(
            g * S[n] * Z2[n]
            + a * mu**2 * sigma2 * s[n]
            + a * sum(q[m] * r[m, n] * C[m] + rho[m, n] * delta2[m] / S[m] for m in below[n])
        )
    h = [0.0, *(
        a * q[m] * sum((S[n] - S[m]) * rt[m, n] for n in range(m + 1, N + 1)) for m in range(1, N)
    )]  # fmt: skip
    H_A = sum((h[m] * A[m] for m in range(1, N)), start=np.asarray(0.0))
    H_C = sum((h[m] * C[m] for m in range(1, N)), start=np.asarray(0.0))
    V0 = sum(
        g * zeta2[n] * (S[n] - 1) * (2 * S[n] - 1) / 6
        + a * mu**2 * sigma2 * (s[n] - s[n + 1]) * (S[n] - 1) / 2
        + a * sum(delta2[m] * (rho[m, n] - rho[m, n + 1]) * (S[n] / S[m] - 1) / 2 for m in below[n])
        for n in range(1, N + 1)
    )
    kappa = g / beta * Lv2 * S[N] * (S[N] - 1) / 2
    omega = 1 - kappa - Lv2 * H_A / beta
    J_A = sum(q[n] * r[n, N + 1] * A[n] for n in range(1, N + 1))
    J_C = sum(q[n] * r[n, N + 1] * C[n] + rho[n, N + 1] * delta2[n] / S[n] for n in range(1, N + 1))
    c = 1 + (1 - L * mu) * (1 - theta)
    dd = 1 + (1 - L * mu) * (1 / theta - 1)
    Psi = dd * Lh2 + L * J_A * Lv2 / (mu * beta)
    with np.errstate(divide="ignore", invalid="ignore"):
        Gamma = c - L / mu * J_A - Psi * H_A / omega
        holds = (L * mu <= 1) & (omega > 0) & (Gamma > 0)
        optimisation = 2 * problem.gap / (mu * rounds * S[N])
        noise = L * mu * sigma2 * s[N + 1]
        quantization = L / mu * J_C
        drift = Psi * (H_C + V0) / omega
        B = np.where(holds, (optimisation + noise + quantization + drift) / Gamma, np.inf)
        Vbar = (H_A * B + H_C + V0) / omega
        X = [A[n] * (B + Lv2 * Vbar / beta) + C[n] for n in range(1, N + 1)]
        D = (
            (1 + alpha) * mu**2 * S[N] * (S[N] - 1) / 2
            * ((1 + beta) * B + (1 + 1 / beta) * Lv2 * Vbar)
            + a * mu**2 * sigma2 * s[N + 1] * (S[N] - 1) / 2
            + a * sum((S[N] - S[m]) * q[m] * r[m, N + 1] * X[m - 1] for m in below[N])
            + a * sum(delta2[m] * rho[m, N + 1] * (S[N] / S[m] - 1) / 2 for m in below[N])
        )  # fmt: skip
        cloud = (np.sqrt(B) + L * np.sqrt(D)) ** 2
        summands = [term / Gamma for term in (optimisation, noise, quantization, drift)]
    X, D, cloud, Vbar = ([np.where(holds, x, np.inf) for x in X], *(
        np.where(holds, one, np.inf) for one in (D, cloud, Vbar)
    ))  # fmt: skip
    single = {
        "H_A": H_A, "H_C": H_C, "V0": V0, "kappa": kappa,
        "J_A": J_A, "J_C": J_C, "Psi": Psi, "D": D,
    }  # fmt: skip
    listed = {"A": A, "C": C}
    return Bound(
        value=B,
        holds=holds,
        omega=omega,
        gamma=Gamma,
        optimisation=summands[0],
        noise=summands[1],
        quantization=summands[2],
        drift=summands[3],
        cloud=cloud,
        dispersion=Vbar,
        increments=tuple(X),
        details={
            **{name: np.asarray(number) for name, number in single.items()},
            **{f"{name}_{n}": np.asarray(numbers[n]) for name, numbers in listed.items()
               for n in range(1, N + 1)},
        },
    )  # fmt: skip


def _least(each: Bound, where: npt.NDArray[np.intp]) -> Bound:
    """Of bounds by several splits, along the first axis, the one that is asked for."""

    def pick(numbers: npt.NDArray[_T]) -> npt.NDArray[_T]:
        whole = np.broadcast_to(numbers, (len(_GRID), *where.shape[1:]))
        chosen: npt.NDArray[_T] = np.take_along_axis(whole, where, axis=0)[0]
        return chosen

    return Bound(
        value=pick(each.value),
        holds=pick(each.holds),
        omega=pick(each.omega),
        gamma=pick(each.gamma),
        optimisation=pick(each.optimisation),
        noise=pick(each.noise),
        quantization=pick(each.quantization),
        drift=pick(each.drift),
        cloud=pick(each.cloud),
        dispersion=pick(each.dispersion),
        increments=tuple(pick(numbers) for numbers in each.increments),
        details={name: pick(numbers) for name, numbers in each.details.items()},
    )
