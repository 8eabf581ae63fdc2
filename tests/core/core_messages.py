"""A head as good as any, and every kind of message around it, right and wrong."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace

import numpy as np
from world_shapes import make_plan

from fedtier.core.effects import NO_BLOB, Job
from fedtier.core.events import Installed
from fedtier.ids import BootNonce, IterationPath, NodeId, RunId
from fedtier.model.layout import ParameterLayout, TensorSpec, model_digest
from fedtier.wire.head import Beacon, BlobRef, Head, Member
from fedtier.wire.manifest import UpdateManifest, encode_model, encode_update
from fedtier.wire.messages import Ack, Presence
from fedtier.wire.parts import Outgoing
from fedtier.wire.plan import CodecSpec

PART_BYTES = 4096
DIMENSION = 3000  # four parts
LAYOUT = ParameterLayout(tensors=(TensorSpec(name="w", shape=(DIMENSION,)),)).digest
PLAN = make_plan((1, 1), rounds=2, deadline_s=(50.0, 50.0), quorum=("1", "1"))
D0, D1 = NodeId("d0"), NodeId("d1")
NONCE = BootNonce(1)


def model_of(value: float) -> tuple[str, bytes]:
    vector = np.full(DIMENSION, value, np.float32)
    digest = model_digest(LAYOUT, vector)
    return digest, encode_model(vector, model=digest, layout=LAYOUT)


MODEL, BLOB = model_of(0.0)
OTHER_MODEL, OTHER_BLOB = model_of(1.0)
OUT = Outgoing(BLOB, kind="model", part_bytes=PART_BYTES)
OTHER_OUT = Outgoing(OTHER_BLOB, kind="model", part_bytes=PART_BYTES)
ARTEFACT, OTHER_ARTEFACT = "ab" * 32, "cd" * 32
ARTEFACT_OUT = Outgoing(bytes(range(256)) * 40, kind="artefact", part_bytes=PART_BYTES)


def listed(out: Outgoing, form: str = "float32") -> BlobRef:
    return BlobRef(form=form, digest=out.digest, total=out.total, parts=out.parts)


HEAD = Head(
    nonce=NONCE, seq=5, run=RunId(1), epoch=1, path=IterationPath((0, 0)), state="open",
    task="train", model=MODEL, layout=LAYOUT, dimension=DIMENSION, artefact=ARTEFACT,
    blobs=(listed(OUT),), tier=1, first_step=0, p0=0.0, p1=1.0, plan=PLAN,
    members=(Member(node=D0, weight=1), Member(node=D1, weight=1)),
)  # fmt: skip


JOB = Job.of(HEAD)
OFFERED = {"artefact": OTHER_ARTEFACT, "artefact_blob": listed(ARTEFACT_OUT, form="zlib")}
OTHER_PATHS = {1: IterationPath((1,)), 2: IterationPath((1, 1))}


def heads(head: Head) -> list[Head]:
    """A head again, newer, older, of other boots, runs, epochs, paths, states, models, plans."""
    newer = replace(head, seq=head.seq + 1)
    other_blob = {"model": OTHER_MODEL, "blobs": (listed(OTHER_OUT),)}
    changes = [
        {}, {"run": RunId(9)}, {"epoch": 0}, {"epoch": 2},
        {"path": OTHER_PATHS[len(head.path.indices)]},
        {"state": "paused"}, {"state": "draining"}, {"state": "finished"}, {"members": ()},
        {"task": "evaluate"}, {"task": "gradient"}, other_blob, other_blob | {"state": "finished"},
        other_blob | {"blobs": ()}, other_blob | {"blobs": (), "state": "finished"},
        other_blob | {"blobs": (replace(listed(OTHER_OUT), total=2**31),)},
        {"plan": replace(PLAN, codecs=(CodecSpec(name="odd"),) * 2)}, {"artefact": OTHER_ARTEFACT},
        OFFERED, OFFERED | {"state": "finished"}, OFFERED | {"members": ()}, OFFERED | other_blob,
        OFFERED | {"artefact_blob": replace(listed(ARTEFACT_OUT), total=2**31)},
    ]  # fmt: skip
    return [
        head,
        replace(head, seq=head.seq - 1),
        *(replace(newer, **change) for change in changes),
        *(replace(head, nonce=BootNonce(2), **change) for change in changes),
    ]


def beacons(head: Head) -> list[Beacon]:
    beacon = Beacon(
        nonce=head.nonce, seq=head.seq, run=head.run, epoch=head.epoch, path=head.path,
        state=head.state,
    )  # fmt: skip
    return [
        beacon,
        replace(beacon, seq=4),
        replace(beacon, seq=9),
        replace(beacon, nonce=BootNonce(8)),
    ]


def artefact_parts() -> list[object]:
    address = {"run": RunId(1), "epoch": 1, "path": HEAD.path, "nonce": NONCE, "seq": 5}
    parts = [ARTEFACT_OUT.part(index, **address) for index in range(ARTEFACT_OUT.parts)]
    return [*parts, replace(parts[0], digest="ee" * 32), replace(parts[1], offset=1)]


def installations() -> list[Installed]:
    return [
        Installed(artefact=artefact, reason=reason, layout=LAYOUT, dimension=DIMENSION, weight=2)
        for reason in ("", "does not fit the board")
        for artefact in (OTHER_ARTEFACT, ARTEFACT)
    ]


def model_parts() -> list[object]:
    address = {"run": RunId(1), "epoch": 1, "path": HEAD.path, "nonce": NONCE, "seq": 5}
    parts = [out.part(i, **address) for out in (OUT, OTHER_OUT) for i in range(out.parts)]
    wrong = replace(parts[1], offset=parts[1].offset + 1)
    return [*parts, wrong, replace(parts[0], total=7)]


def acks(digest: str) -> list[Ack]:
    verdicts = ["want", "accepted", "stale", "rejected"]
    reasons = ["", "conflict: another", "not a member", "layout"]
    return [
        Ack(digest=d, verdict=v, parts=parts, reason=reason)
        for d, v, reason in itertools.product([digest, NO_BLOB, "ee" * 32], verdicts, reasons)
        for parts in ([(), (0, 1, 99)] if v == "want" else [()])
        if v == "rejected" or not reason
    ]


def update(head: Head, child: NodeId, value: float = 1.0, **changes: object) -> bytes:
    manifest = UpdateManifest(
        run=head.run, path=head.path, node=child, task=head.task, base=head.model,
        layout=head.layout, weight=1, codec="identity",
    )  # fmt: skip
    manifest = replace(manifest, **changes)
    delta = np.full(DIMENSION, value, "<f4").tobytes()
    return encode_update(manifest, (delta,) if manifest.weight else ())


def parts_of(blob: bytes, head: Head, part_bytes: int = PART_BYTES) -> list[object]:
    out = Outgoing(blob, kind="update", part_bytes=part_bytes)
    address = {"run": head.run, "epoch": head.epoch, "path": head.path}
    return [out.part(i, **address, nonce=head.nonce, seq=head.seq) for i in range(out.parts)]


@functools.cache
def update_parts(head: Head, node: NodeId) -> list[object]:
    """Right and wrong updates, in one part and in many, part by part."""
    wrong = [
        {"base": OTHER_MODEL}, {"layout": "ee" * 32}, {"weight": 5}, {"node": NodeId("d9")},
        {"task": "gradient"}, {"figures": {"l": 3}}, {"weight": 0}, {"weight": 0, "reason": "no"},
        {"run": RunId(9)},
    ]  # fmt: skip
    blobs = [update(head, node), update(head, node, 2.0), update(head, node, np.nan)]
    blobs += [update(head, node, **changes) for changes in wrong]
    blobs.append(blobs[0][:-4])
    found = [
        part
        for blob in blobs
        for size in (PART_BYTES, 65_536)
        for part in parts_of(blob, head, size)
    ]
    first = found[0]
    return [
        *found, replace(first, run=RunId(9)), replace(first, path=IterationPath((7,))),
        replace(first, epoch=9), replace(first, nonce=BootNonce(9)), replace(first, total=2**31),
    ]  # fmt: skip


def presences() -> list[Presence]:
    return [
        Presence(status=status, nonce=BootNonce(nonce), ready=ready, weight=weight)
        for status in ("online", "lost", "leaving")
        for nonce in (1, 8, 0)
        for ready in (True, False)
        for weight in (0, 3, 2**31 - 1)
    ]
