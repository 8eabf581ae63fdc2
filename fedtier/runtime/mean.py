"""Close an iteration: read the spool, sum exactly, step, and make the new model or the gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from fedtier.core.effects import Aggregate
from fedtier.core.measured import GradientFigures
from fedtier.core.verify import vectors_of
from fedtier.errors import StorageError
from fedtier.model.exact_sum import ExactSum
from fedtier.model.layout import Vector, model_digest
from fedtier.model.server_step import ServerStep
from fedtier.quantize.norm import sum_of_squares
from fedtier.storage.spool import Spool
from fedtier.wire.head import Member
from fedtier.wire.manifest import decode_update, encode_model


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NewModel:
    """A parent's model after an iteration."""

    vector: Vector  # shape (d,)
    model: str  # its digest
    blob: bytes  # as the children fetch it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeanGradient:
    """What the answers to a gradient's head amount to, in one cell."""

    gradient: Vector  # the mean of the gradients at the head's model, shape (d,)
    change: Vector  # the mean of the changes from there to the devices' end points, shape (d,)
    spread: GradientFigures  # how far the children's gradients lie from the mean


def mean_of(spool: Spool, aggregate: Aggregate) -> Vector:
    """The exact weighted mean of the deltas that came, shape ``(d,)``.

    One update is decoded at a time: memory is O(d) however many children there are.

    Raises:
        StorageError: If an update that was accepted is no longer in the spool.
    """
    (mean,) = _means(spool, aggregate)
    return mean


def mean_gradient(spool: Spool, aggregate: Aggregate) -> MeanGradient:
    """The exact weighted means of the gradients that came, and how far each is from its mean.

    The spool is read twice: a distance is computed from the difference itself, so it is exact where
    the gradients hardly differ, too.

    Raises:
        StorageError: If an update that was accepted is no longer in the spool.
    """
    gradient, change = _means(spool, aggregate)
    far = Fraction(0)
    for member, vectors in _read(spool, aggregate):
        far += member.weight * Fraction(sum_of_squares(vectors[0] - gradient))
    spread = GradientFigures(spread={aggregate.head.tier: far})
    return MeanGradient(gradient=gradient, change=change, spread=spread)


def _means(spool: Spool, aggregate: Aggregate) -> list[Vector]:
    """Of each of the vectors that the head asks for."""
    head = aggregate.head
    totals = [
        ExactSum(
            head.dimension,
            total_weight=aggregate.admitted_weight,
            range_bits=head.plan.range_bits,
        )
        for _ in range(head.vectors)
    ]
    for member, vectors in _read(spool, aggregate):
        for total, vector in zip(totals, vectors, strict=True):
            total.add(vector, member.weight)
    return [total.mean() for total in totals]


def _read(spool: Spool, aggregate: Aggregate) -> Iterator[tuple[Member, list[Vector]]]:
    """The members that came, each with its vectors."""
    head = aggregate.head
    for member in aggregate.came:
        blob = spool.get(head.run, head.path, member.node)
        if blob is None:
            raise StorageError(
                f"the accepted update of {member.node} for {head.path} is gone from the spool or "
                "damaged. Mend the disk and start again: the child still holds it."
            )
        yield member, vectors_of(head, decode_update(blob))


def next_model(model: Vector, spool: Spool, aggregate: Aggregate, *, step: ServerStep) -> NewModel:
    """The model after the iteration.

    Args:
        model: The model before it, shape ``(d,)``.
        spool: Where the updates are.
        aggregate: Which of them enter, with what weight.
        step: How the mean enters the model; nothing is added where nobody came, since adding 0
            would turn a parameter of -0.0 into another.
    """
    vector = step(model, mean_of(spool, aggregate)) if aggregate.came else model
    layout = aggregate.head.layout
    digest = model_digest(layout, vector)
    return NewModel(
        vector=vector, model=digest, blob=encode_model(vector, model=digest, layout=layout)
    )
