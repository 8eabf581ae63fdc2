"""How good the global model is on data that no device trains on."""

from __future__ import annotations

from dataclasses import dataclass

from fedtier.artefact.artefact import Artefact
from fedtier.artefact.evaluate import Score, score
from fedtier.data.examples import HeldOut
from fedtier.model.layout import Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutScore:
    """One model on every held-out group."""

    total: Score
    groups: tuple[tuple[str, Score], ...]

    @property
    def worst(self) -> tuple[str, float, Score] | None:
        """The group with the lowest accuracy, by name where two are equal; None without accuracy.

        Name, accuracy and score.
        """
        known = [(name, s.accuracy, s) for name, s in self.groups if s.accuracy is not None]
        return min(known, key=lambda group: (group[1], group[0]), default=None)


class Evaluator:
    """Scores models on the held-out groups."""

    def __init__(self, artefact: Artefact, held_out: HeldOut) -> None:
        """Open the evaluation graph once."""
        self._session = artefact.evaluate_session()
        self._kind = artefact.manifest.loss.kind
        self._held_out = held_out

    def score(self, model: Vector) -> HeldOutScore:
        """Score a model, shape ``(d,)``."""
        groups = tuple(
            (name, score(self._session, model, examples, kind=self._kind))
            for name, examples in self._held_out.groups
        )
        total = Score(examples=0, correct=0, loss_units=0)
        for _, group in groups:
            total += group
        return HeldOutScore(total=total, groups=groups)
