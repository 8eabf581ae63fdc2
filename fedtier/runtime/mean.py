"""Close an iteration: read the spool, sum exactly, step, and make the new model."""

from __future__ import annotations

from dataclasses import dataclass

from fedtier.core.effects import Aggregate
from fedtier.errors import StorageError
from fedtier.model.exact_sum import ExactSum
from fedtier.model.layout import Vector, model_digest
from fedtier.model.server_step import ServerStep
from fedtier.quantize.registry import make_codec
from fedtier.storage.spool import Spool
from fedtier.wire.manifest import decode_update, encode_model


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NewModel:
    """A parent's model after an iteration."""

    vector: Vector  # shape (d,)
    model: str  # its digest
    blob: bytes  # as the children fetch it


def mean_of(spool: Spool, aggregate: Aggregate) -> Vector:
    """The exact weighted mean of the updates that came, shape ``(d,)``.

    One update is decoded at a time: memory is O(d) however many children there are.

    Raises:
        StorageError: If an update that was accepted is no longer in the spool.
    """
    head = aggregate.head
    spec = head.plan.codecs[head.tier - 1]
    codec = make_codec(spec.name, dict(spec.parameters), where="plan")
    total = ExactSum(
        head.dimension,
        total_weight=aggregate.admitted_weight,
        range_bits=head.plan.range_bits,
    )
    for member in aggregate.came:
        blob = spool.get(head.run, head.path, member.node)
        if blob is None:
            raise StorageError(
                f"the accepted update of {member.node} for {head.path} is gone from the spool or "
                "damaged. Mend the disk and start again: the child still holds it."
            )
        total.add(codec.decode(decode_update(blob).sections, head.dimension), member.weight)
    return total.mean()


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
