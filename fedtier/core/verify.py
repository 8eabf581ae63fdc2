"""What an update must be to enter an iteration; said of one update at a time, without state."""

from __future__ import annotations

from fedtier.core.figures import Figures
from fedtier.errors import UpdateError, WireError
from fedtier.ids import NodeId
from fedtier.model.exact_sum import in_range
from fedtier.model.layout import Vector
from fedtier.quantize.codec import Codec
from fedtier.quantize.registry import announced_spacing, make_codec
from fedtier.wire.head import Head
from fedtier.wire.manifest import Update, UpdateManifest

_OVERHEAD_BYTES = 8192  # header, manifest and alignment of an update's blob


class OtherHeadError(UpdateError):
    """It answers another head for the same path: it is not wrong but stale."""


def verify_manifest(head: Head, child: NodeId, manifest: UpdateManifest) -> None:
    """Check what an update says of itself, before the rest of it is asked for.

    Raises:
        OtherHeadError: If it began from another model, or for another task, so from a head before
            or after this one.
        UpdateError: If it cannot be this child's answer to this head.
        WireError: If its figures are not figures.
    """
    member = head.member(child)
    if member is None:
        raise UpdateError(f"not a member of round {head.path.round}")
    if manifest.node != child:
        raise UpdateError(f"an update of {manifest.node!r} came from {child!r}")
    if (manifest.run, manifest.path) != (head.run, head.path):
        raise UpdateError(f"an update for {manifest.path} under another path")
    if manifest.task != head.task:
        raise OtherHeadError(f"task {manifest.task!r} is not {head.task!r}")
    if manifest.base != head.model:
        raise OtherHeadError(f"base model {manifest.base[:12]} is not {head.model[:12]}")
    if manifest.layout != head.layout:
        raise UpdateError(f"layout {manifest.layout[:12]} is not {head.layout[:12]}")
    if manifest.weight not in (0, member.weight):
        raise UpdateError(f"weight {manifest.weight} is not the admitted {member.weight}")
    if manifest.weight > 0 and head.task == "evaluate":
        raise UpdateError(f"an evaluation has weight 0, not {manifest.weight}")
    if manifest.weight == 0 and head.task != "evaluate" and not manifest.reason:
        raise UpdateError("an abstention gives its reason")
    Figures.from_json(manifest.figures)


def verify_delta(head: Head, update: Update) -> None:
    """Check that a whole update decodes to numbers that the sum can take.

    Raises:
        UpdateError: If a coordinate is not a number, or out of range.
        WireError: If its sections are not what its codec writes.
    """
    if update.manifest.weight == 0:
        return
    for vector in vectors_of(head, update):
        if not in_range(vector, head.plan.range_bits):
            raise UpdateError(f"a coordinate is not within 2^{head.plan.range_bits}")


def vectors_of(head: Head, update: Update) -> list[Vector]:
    """What an update of weight > 0 holds, decoded: as many vectors as its head asks for.

    Raises:
        UpdateError: If its codec refuses a section.
        WireError: If its sections are not what its codec writes.
    """
    codec, sections, vectors = link_codec(head), update.sections, head.vectors
    if not vectors or len(sections) % vectors:
        raise WireError(f"{len(sections)} sections do not hold {vectors} vectors")
    each = len(sections) // vectors
    parts = (sections[first : first + each] for first in range(0, vectors * each, each))
    return [codec.decode(part, head.dimension) for part in parts]


def update_bytes_max(head: Head) -> int:
    """The largest blob that can answer a head."""
    return (
        max(1, head.vectors) * link_codec(head).payload_bytes_max(head.dimension) + _OVERHEAD_BYTES
    )


def link_codec(head: Head) -> Codec:
    """The codec of the link that leads up to the head's parent; known before the head is said."""
    spec = head.codec
    return make_codec(
        spec.name, dict(spec.parameters), announced=head.spacing or None, where="plan"
    )


def spacing_of(head: Head, rms: float) -> float:
    """What a head announces for its answers, after deltas of this root mean square."""
    if head.task != "train":
        return 0.0
    return announced_spacing(head.codec.name, dict(head.codec.parameters), rms)
