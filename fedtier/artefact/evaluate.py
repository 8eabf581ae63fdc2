"""Score a model on examples, in integers that fold over any number of nodes in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import numpy as np
import numpy.typing as npt

from fedtier.artefact.loss import LossKind
from fedtier.artefact.open_graph import OpenGraph
from fedtier.data.examples import Examples, Inputs, Targets
from fedtier.errors import TrainingError
from fedtier.limits import LOSS_UNITS_PER_NAT
from fedtier.model.layout import Vector

LOSS_MAX = float(2**20)  # per example; a diverged model must not overflow an int64 sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Sums over examples; ``+`` folds the scores of disjoint sets."""

    examples: int
    correct: int
    loss_units: int  # the loss without smoothing, in 2**-20, each example rounded
    judged: int = 0  # answers that are right or wrong: of bce one an output, of mse none

    def __add__(self, other: Score) -> Score:
        return Score(
            examples=self.examples + other.examples,
            correct=self.correct + other.correct,
            loss_units=self.loss_units + other.loss_units,
            judged=self.judged + other.judged,
        )

    @property
    def accuracy(self) -> float | None:
        """Share of answers that are right, in [0, 1]; None where none is judged."""
        return self.correct / self.judged if self.judged else None

    @property
    def loss(self) -> float:
        """Mean loss of the examples, in nats but of mse; 0 of none."""
        return self.loss_units / LOSS_UNITS_PER_NAT / self.examples if self.examples else 0.0


def predict(session: OpenGraph, model: Vector, x: Inputs) -> npt.NDArray[np.float32]:
    """Outputs for every input, shape ``(n, ...)``: of classes, logits ``(n, classes)``.

    Args:
        session: An artefact's evaluation graph.
        model: Flat vector, shape ``(d,)``.
        x: Preprocessed inputs, shape ``(n, ...)``.

    Notes:
        The graph takes batches of one size; the last is filled with zeros and cut. A row's logits
        depend on that row alone, so how the rows are batched cannot be seen in them.
    """
    _, slot = session.get_inputs()
    batch = slot.shape[0]
    rows: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(x), batch):
        part = x[start : start + batch]
        if len(part) == batch:
            full = np.ascontiguousarray(part)
        else:
            full = np.zeros((batch, *x.shape[1:]), x.dtype)
            full[: len(part)] = part
        (logits,) = session.run(["logits"], {"w": model, "x": full})
        rows.append(logits[: len(part)])
    if rows:
        return np.concatenate(rows)
    return np.zeros((0, *session.get_outputs()[0].shape[1:]), np.float32)


def score(
    session: OpenGraph,
    model: Vector,
    examples: Examples,
    *,
    kind: LossKind = "cross_entropy",
) -> Score:
    """Count right answers and sum the plain loss.

    Args:
        session: An artefact's evaluation graph, from ``Artefact.evaluate_session``.
        model: Flat vector, shape ``(d,)``.
        examples: Preprocessed inputs with their targets; may be empty.
        kind: The artefact's loss. Of ``cross_entropy`` an example is right whose largest logit is
            its class's, the lowest class where logits are equal; of ``bce`` every output is judged
            by itself, right where logit and target say the same: ``logit >= 0`` and
            ``target >= 0.5``; of ``mse`` nothing is judged.

    Raises:
        TrainingError: If an output is not finite: the model has diverged.
    """
    return score_outputs(predict(session, model, examples.x), examples.y, kind=kind)


def score_outputs(found: npt.NDArray[np.float32], y: Targets, *, kind: LossKind) -> Score:
    """Count right answers and sum the plain loss of outputs, wherever they were computed.

    Args:
        found: An output for each example, shape ``(n, ...)``.
        y: The examples' targets, shape ``(n, ...)``.
        kind: As of ``score``.

    Raises:
        TrainingError: If an output is not finite: the model has diverged.

    Notes:
        In float64; the loss of an example with several outputs is their mean. It is rounded to
        units of 2**-20 and cut at 2**20 before it is added.
    """
    outputs = found.astype(np.float64)
    if not np.isfinite(outputs).all():
        finite = np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)
        raise TrainingError(
            f"the model's outputs for example {int(np.flatnonzero(~finite)[0])} of {len(outputs)} "
            "are not finite: it diverged. Use a smaller step size."
        )
    if not len(outputs):
        return Score(examples=0, correct=0, loss_units=0)
    loss, right = _losses_and_right(outputs, y, kind)
    units = np.rint(np.minimum(loss, LOSS_MAX) * LOSS_UNITS_PER_NAT).astype(np.int64)
    return Score(
        examples=len(outputs),
        correct=int(right.sum()),
        loss_units=int(units.sum()),
        judged=right.size,
    )


def _losses_and_right(
    outputs: npt.NDArray[np.float64], y: Targets, kind: LossKind
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The loss of every example, shape ``(n,)``, and every judged answer, whether it is right."""
    match kind:
        case "cross_entropy":
            shifted = outputs - outputs.max(axis=1, keepdims=True)
            log_sum = np.log(np.exp(shifted).sum(axis=1))
            right = outputs.argmax(axis=1) == y
            return log_sum - shifted[np.arange(len(y)), y], right
        case "mse":
            return _means((outputs - y) ** 2), np.zeros(0, np.bool_)
        case "bce":
            above, rest = np.maximum(outputs, 0.0), np.log1p(np.exp(-np.abs(outputs)))
            return _means(above - outputs * y + rest), (outputs >= 0.0) == (y >= 0.5)
        case _:
            assert_never(kind)


def _means(each: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    means: npt.NDArray[np.float64] = each.reshape(len(each), -1).mean(axis=1)
    return means
