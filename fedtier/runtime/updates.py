"""Make the update that answers a head: a quantized delta, plain gradients, or figures alone."""

from __future__ import annotations

import numpy as np

from fedtier.core.figures import Figures
from fedtier.core.verify import link_codec
from fedtier.draws import DrawKey, draw_key
from fedtier.errors import TrainingError, UpdateError
from fedtier.ids import NodeId
from fedtier.model.exact_sum import in_range
from fedtier.model.layout import Vector
from fedtier.quantize.registry import shares_spacing
from fedtier.wire.head import Head
from fedtier.wire.manifest import UpdateManifest, clip_reason, encode_update


def delta_update(
    node: NodeId, head: Head, *, start: Vector, end: Vector, weight: int, figures: Figures
) -> bytes:
    """The blob of a delta, quantized for the link that leads up to the head's parent.

    Args:
        node: The sender.
        head: What it answers.
        start: The model it began from, shape ``(d,)``.
        end: The model it came to, shape ``(d,)``.
        weight: As admitted.
        figures: What rides along.

    Raises:
        TrainingError: If the delta is not finite, or a coordinate of it, before or after the
            quantizer, is outside the range the sum takes.
    """
    codec = link_codec(head)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused below
        delta = end - start
    if not in_range(delta, head.plan.range_bits):
        raise TrainingError(
            f"diverged: a coordinate of the delta is beyond 2^{head.plan.range_bits}"
        )
    key = _rounding(node, head, "delta")
    try:
        encoded = codec.encode(delta, key)
        decoded = codec.decode(encoded.sections, delta.size)
    except UpdateError as error:
        raise TrainingError(f"diverged: {error}") from error
    if not in_range(decoded, head.plan.range_bits):
        raise TrainingError(f"diverged: a quantized coordinate is beyond 2^{head.plan.range_bits}")
    norm = encoded.norm if shares_spacing(codec.name) else 0.0
    manifest = _manifest(
        node, head, figures, weight=weight, codec=codec.text, q=encoded.q, norm=norm
    )
    return encode_update(manifest, encoded.sections)


def gradient_update(
    node: NodeId, head: Head, *, gradient: Vector, change: Vector, weight: int, figures: Figures
) -> bytes:
    """The blob of an answer to a head that asks for a gradient.

    Args:
        node: The sender.
        head: What it answers.
        gradient: At the head's model, shape ``(d,)``.
        change: How much it differs at the devices' end points, shape ``(d,)``.
        weight: As admitted.
        figures: What rides along.

    Raises:
        TrainingError: If a coordinate is not finite, or outside the range the sum takes.
    """
    codec = link_codec(head)
    sections: list[bytes] = []
    for tensor, vector in (("gradient", gradient), ("change", change)):
        if not in_range(vector, head.plan.range_bits):
            raise TrainingError(
                f"a coordinate of the gradient is beyond 2^{head.plan.range_bits}: raise range_bits"
            )
        sections += codec.encode(vector, _rounding(node, head, tensor)).sections
    manifest = _manifest(node, head, figures, weight=weight, codec=codec.text)
    return encode_update(manifest, tuple(sections))


def figures_update(node: NodeId, head: Head, *, reason: str, figures: Figures) -> bytes:
    """The blob of an answer without a delta: an evaluation, or an abstention and its reason."""
    return encode_update(_manifest(node, head, figures, reason=clip_reason(reason)), ())


def _rounding(node: NodeId, head: Head, tensor: str) -> DrawKey:
    seed, path = head.plan.seed, str(head.path)
    return draw_key(seed=seed, path=path, node=node, tensor=tensor, purpose="rounding")


def _manifest(
    node: NodeId, head: Head, figures: Figures, *, weight: int = 0, codec: str = "", q: float = 0.0,
    norm: float = 0.0, reason: str = "",
) -> UpdateManifest:  # fmt: skip
    return UpdateManifest(
        run=head.run, path=head.path, node=node, task=head.task, base=head.model,
        layout=head.layout, weight=weight, codec=codec, q=q, norm=norm, reason=reason,
        figures=figures.to_json(),
    )  # fmt: skip
