"""One example of everything that travels, and the files that hold its bytes.

What changed on the wire, if anything did::

    python tests/wire/wire_examples.py            show it as a diff, exit 1 if there is one
    python tests/wire/wire_examples.py --write    and make it the new truth

A change here is a change of the protocol: nodes of two versions may no longer understand each
other. It needs a line in the changelog, under "Wire".
"""

from __future__ import annotations

import difflib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from fedtier.core.effects import NO_BLOB
from fedtier.draws import DrawKey
from fedtier.ids import BootNonce, IterationPath, NodeId, RunId
from fedtier.model.layout import ParameterLayout, TensorSpec, model_digest
from fedtier.quantize import Lattice, Qsgd
from fedtier.wire.blob import encode_blob
from fedtier.wire.head import Beacon, BlobRef, Head, Member
from fedtier.wire.manifest import UpdateManifest, encode_model, encode_update
from fedtier.wire.messages import Ack, Presence, Want
from fedtier.wire.parts import Outgoing, Part
from fedtier.wire.plan import CodecSpec, Plan

GOLDEN = Path(__file__).parent / "golden"

RUN = RunId(0x0123456789ABCDEF)
NONCE = BootNonce(0xFEDCBA9876543210)
PATH = IterationPath((12, 3, 1))
LAYOUT = ParameterLayout(tensors=(TensorSpec(name="w", shape=(2, 3)),))
PARAMETERS = np.array([0.5, -1.25, 0.0, 3.0, -0.0, 1e-3], np.float32)
MODEL = model_digest(LAYOUT.digest, PARAMETERS)
DELTA = np.array([3.0, -4.0, 0.0, 0.0, 1.0, -0.5], np.float32)

PLAN = Plan(
    seed=7, rounds=40, tau=(8, 2, 2), schedule="cosine", mu=0.05, floor=0.05,
    codecs=(
        CodecSpec(name="qsgd", parameters=(("bucket", 128), ("levels", 7))),
        CodecSpec(name="qsgd", parameters=(("levels", 127),)),
        CodecSpec(name="identity"),
    ),
    quorum=("all", "0.8", "2"), deadline_s=(None, 90.0, 600.0),
)  # fmt: skip
MODEL_BLOB = encode_model(PARAMETERS, model=MODEL, layout=LAYOUT.digest)
UPDATE_MANIFEST = UpdateManifest(
    run=RUN, path=PATH, node=NodeId("wrist-04"), task="train", base=MODEL, layout=LAYOUT.digest,
    weight=3, codec="qsgd(levels=4)", q=0.03125,
    figures={
        "l": [[1, 7, 5, 1, 0, 0, 0, 91250, 40112, 4096, 4, 81000]], "t": [], "s": [8, 73400320],
    },
)  # fmt: skip
UPDATE_BLOB = encode_update(
    UPDATE_MANIFEST, Qsgd(levels=4).encode(DELTA, DrawKey(k0=1, k1=2)).sections
)
_LATTICE = Lattice(spacing=2.0, announced=0.25)
LATTICE_MANIFEST = replace(
    UPDATE_MANIFEST, codec=_LATTICE.text, q=_LATTICE.encode(DELTA, DrawKey(k0=1, k1=2)).q, norm=0.5
)
LATTICE_BLOB = encode_update(LATTICE_MANIFEST, _LATTICE.encode(DELTA, DrawKey(k0=1, k1=2)).sections)
EVALUATION_MANIFEST = UpdateManifest(
    run=RUN, path=PATH, node=NodeId("home-1"), task="evaluate", base=MODEL, layout=LAYOUT.digest,
    weight=0,
    figures={
        "l": [], "t": [], "e": [60, 57, 9437184], "h": [93, 1, 97, 1], "w": [28, 30, "wrist-04"],
        "v": [1, 11, "00112233aabb", 2, 0, 1, 12, "ccddeeff0011", 1, 1],
    },
)  # fmt: skip
EVALUATION_BLOB = encode_update(EVALUATION_MANIFEST, ())
GRADIENT_MANIFEST = UpdateManifest(
    run=RUN, path=PATH, node=NodeId("home-1"), task="gradient", base=MODEL, layout=LAYOUT.digest,
    weight=3, codec="identity",
    figures={
        "l": [], "t": [], "m": {"g": [2, 2, 3, 2.75, 0.5, 0.125, 0.25, [[1, 0.0625]]]},
        "i": [[0, 250000], [1, 900000]], "a": 1500,
    },
)  # fmt: skip
GRADIENT_BLOB = encode_update(GRADIENT_MANIFEST, (DELTA.tobytes(), (DELTA / 2).tobytes()))
_MODEL = Outgoing(MODEL_BLOB, kind="model", part_bytes=4096)
_WHERE = {"run": RUN, "epoch": 1, "path": PATH, "nonce": NONCE, "seq": 77}

PRESENCE = Presence(
    status="online", nonce=NONCE, ready=True, weight=6, beneath="00112233aabbccdd", devices=6,
    version="0.1.0",
)  # fmt: skip
HEAD = Head(
    nonce=NONCE, seq=77, run=RUN, epoch=1, path=PATH, state="open", task="train", model=MODEL,
    layout=LAYOUT.digest, dimension=6, artefact="ab" * 32, tier=1, first_step=24, p0=0.3, p1=0.325,
    artefact_blob=BlobRef(form="zlib", digest="cd" * 32, total=10325, parts=3),
    blobs=(
        BlobRef(form="float32", digest=_MODEL.digest, total=_MODEL.total, parts=_MODEL.parts),
    ),
    plan=PLAN,
    members=(
        Member(node=NodeId("wrist-04"), weight=3),
        Member(node=NodeId("wrist-05"), weight=1, beneath="00112233aabbccdd"),
    ),
)  # fmt: skip
# With all that a plan says only where it is used.
HEAD_STEP = replace(
    HEAD,
    plan=replace(PLAN, schedule="step", factor=0.1, milestones=(0.5, 0.75), carry="iteration"),
)
# With one of the artefact's lowerings by name.
HEAD_LOWERING = replace(HEAD, plan=replace(PLAN, lowering="gemm"))
# Whose answers share a spacing.
HEAD_LATTICE = replace(
    HEAD,
    spacing=0.25,
    plan=replace(PLAN, codecs=(CodecSpec(name="lattice", parameters=(("spacing", 0.5),)),) * 3),
)
# Of a pilot, before the round of a run that it names.
HEAD_GRADIENT = replace(HEAD, task="gradient", plan=replace(PLAN, pilot=14))
BEACON = Beacon(nonce=NONCE, seq=77, run=RUN, epoch=1, path=PATH, state="open")
WANT = Want(digest=_MODEL.digest, parts=(0, 7, 12))
WANT_HEAD = Want(digest=NO_BLOB, parts=())
ACK = Ack(digest=_MODEL.digest, verdict="want", parts=(1, 2))
WANT_OFFER = Ack(digest=NO_BLOB, verdict="want")
REJECTED = Ack(digest=_MODEL.digest, verdict="rejected", reason="conflict: another update is held")
MODEL_PART = _MODEL.part(0, **_WHERE)
UPDATE_PART = Part(
    kind="update", digest="5a" * 32, part=2, parts=3, offset=7944, total=7984,
    payload=bytes(range(40)), **_WHERE,
)  # fmt: skip

ARTEFACT_BLOB = encode_blob(
    "artefact",
    {"format": 1, "artefact": "ab" * 32, "files": [["manifest.json", 7], ["train.onnx", 5]]},
    [b"packed", b"too"],
)
ARTEFACT_PART = Outgoing(ARTEFACT_BLOB, kind="artefact", part_bytes=4096).part(0, **_WHERE)

EXAMPLES: dict[str, bytes] = {
    "presence.json": PRESENCE.encode(),
    "head.json": HEAD.encode(),
    "head_step.json": HEAD_STEP.encode(),
    "head_lowering.json": HEAD_LOWERING.encode(),
    "head_lattice.json": HEAD_LATTICE.encode(),
    "head_gradient.json": HEAD_GRADIENT.encode(),
    "beacon.json": BEACON.encode(),
    "want.json": WANT.encode(),
    "want_head.json": WANT_HEAD.encode(),
    "ack.json": ACK.encode(),
    "ack_want_offer.json": WANT_OFFER.encode(),
    "ack_rejected.json": REJECTED.encode(),
    "update_part.hex": UPDATE_PART.encode(),
    "model_part.hex": MODEL_PART.encode(),
    "artefact_part.hex": ARTEFACT_PART.encode(),
    "artefact_blob.hex": ARTEFACT_BLOB,
    "update_blob.hex": UPDATE_BLOB,
    "lattice_blob.hex": LATTICE_BLOB,
    "evaluation_blob.hex": EVALUATION_BLOB,
    "gradient_blob.hex": GRADIENT_BLOB,
    "model_blob.hex": MODEL_BLOB,
}


def dump(data: bytes) -> str:
    """Bytes as a person reads them: 16 a line, with their offset and their printable ones."""
    lines = []
    for offset in range(0, len(data), 16):
        row = data[offset : offset + 16]
        shown = "".join(chr(b) if 32 <= b < 127 else "." for b in row)
        lines.append(f"{offset:05x}  {row.hex(' '):<47}  {shown}\n")
    return "".join(lines)


def load(name: str) -> bytes:
    """The bytes a golden file stands for."""
    path = GOLDEN / name
    if name.endswith(".json"):
        return path.read_bytes().removesuffix(b"\n")
    return b"".join(bytes.fromhex(line[7:54]) for line in path.read_text().splitlines())


def _as_file(name: str, data: bytes) -> bytes:
    return data + b"\n" if name.endswith(".json") else dump(data).encode()


def _for_people(name: str, data: bytes) -> list[str]:
    text = json.dumps(json.loads(data), indent=1) + "\n" if name.endswith(".json") else dump(data)
    return text.splitlines(keepends=True)


def _main(arguments: list[str]) -> int:
    changed = 0
    for name, data in EXAMPLES.items():
        path = GOLDEN / name
        before = load(name) if path.exists() else b"{}" if name.endswith(".json") else b""
        if path.exists() and before == data:
            continue
        changed = 1
        old, new = _for_people(name, before), _for_people(name, data)
        sys.stdout.writelines(difflib.unified_diff(old, new, f"golden/{name}", "now", n=2))
        if "--write" in arguments:
            path.write_bytes(_as_file(name, data))
    return changed


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
