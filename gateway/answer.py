"""What a gateway answers: the delta of its iterations, or the mean of its children's gradients."""

from __future__ import annotations

from fedtier.core.effects import Answer
from fedtier.core.figures import Figures
from fedtier.core.measured import Measured
from fedtier.ids import NodeId
from fedtier.runtime.mean import mean_gradient
from fedtier.runtime.updates import delta_update, figures_update, gradient_update
from fedtier.storage.spool import Spool
from fedtier.wire.manifest import decode_model


def answer_update(node: NodeId, answer: Answer, spool: Spool, *, figures: Figures) -> bytes:
    """The blob of a gateway's answer to its parent.

    Args:
        node: The gateway.
        answer: What its machine asks for.
        spool: Where its children's gradients are, if that is what is asked for.
        figures: What rides along.

    Raises:
        TrainingError: If what is to be sent is not finite, or outside the range the sum takes.
        StorageError: If a gradient that was accepted is no longer in the spool.
    """
    head = answer.head
    if answer.weight == 0:
        return figures_update(node, head, reason=answer.reason, figures=figures)
    if answer.gathered is None:
        start, _, _ = decode_model(answer.start)
        end, _, _ = decode_model(answer.end)
        return delta_update(
            node, head, start=start, end=end, weight=answer.weight, figures=figures
        )  # fmt: skip
    found = mean_gradient(spool, answer.gathered)
    return gradient_update(
        node, head, gradient=found.gradient, change=found.change, weight=answer.weight,
        figures=figures + Figures(measured=Measured(gradients=found.spread)),
    )  # fmt: skip
