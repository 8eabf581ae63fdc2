"""Score a model on examples, in integers that fold over any number of nodes in any order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime

from fedtier.data.examples import Examples, Inputs
from fedtier.errors import TrainingError
from fedtier.limits import LOSS_UNITS_PER_NAT
from fedtier.model.layout import Vector

LOSS_NATS_MAX = float(2**20)  # per example; a diverged model must not overflow an int64 sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Sums over examples; ``+`` folds the scores of disjoint sets."""

    examples: int
    correct: int
    loss_units: int  # cross entropy without smoothing, in 2**-20 nats, each example rounded

    def __add__(self, other: Score) -> Score:
        return Score(
            examples=self.examples + other.examples,
            correct=self.correct + other.correct,
            loss_units=self.loss_units + other.loss_units,
        )

    @property
    def accuracy(self) -> float:
        """Share of examples whose largest logit is their label's, in [0, 1]; 0 of none."""
        return self.correct / self.examples if self.examples else 0.0

    @property
    def loss(self) -> float:
        """Mean cross entropy in nats; 0 of none."""
        return self.loss_units / LOSS_UNITS_PER_NAT / self.examples if self.examples else 0.0


def predict(
    session: onnxruntime.InferenceSession, model: Vector, x: Inputs
) -> npt.NDArray[np.float32]:
    """Logits of every input, shape ``(n, classes)``.

    Args:
        session: An artefact's evaluation graph.
        model: Flat parameters, shape ``(d,)``.
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
    return np.zeros((0, session.get_outputs()[0].shape[1]), np.float32)


def score(session: onnxruntime.InferenceSession, model: Vector, examples: Examples) -> Score:
    """Count right answers and sum the plain cross entropy.

    Args:
        session: An artefact's evaluation graph, from ``Artefact.evaluate_session``.
        model: Flat parameters, shape ``(d,)``.
        examples: Preprocessed inputs with their labels; may be empty.

    Raises:
        TrainingError: If a logit is not finite: the model has diverged.

    Notes:
        Log-softmax in float64; each example's loss is rounded to units of 2**-20 nats and cut at
        2**20 nats before it is added. Equal logits: the lowest class answers.
    """
    logits = predict(session, model, examples.x).astype(np.float64)
    if not np.isfinite(logits).all():
        bad = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
        raise TrainingError(
            f"the model's logits for example {bad} of {len(logits)} are not finite: it diverged. "
            "Use a smaller step size."
        )
    if not len(logits):
        return Score(examples=0, correct=0, loss_units=0)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    loss = log_sum - shifted[np.arange(len(shifted)), examples.y]
    units = np.rint(np.minimum(loss, LOSS_NATS_MAX) * LOSS_UNITS_PER_NAT).astype(np.int64)
    return Score(
        examples=len(logits),
        correct=int((logits.argmax(axis=1) == examples.y).sum()),
        loss_units=int(units.sum()),
    )
