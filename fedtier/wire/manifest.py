"""The manifests of the two kinds of blob: a child's update and a parent's model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fedtier.errors import WireError
from fedtier.ids import IterationPath, NodeId, RunId, hex64
from fedtier.limits import DIMENSION_MAX, REASON_CHARACTERS_MAX, WEIGHT_MAX
from fedtier.wire.blob import Blob, decode_blob, encode_blob, peek_manifest
from fedtier.wire.fields import Fields
from fedtier.wire.head import TASKS, Task

FORMAT = 1
RAW_FORM = "float32"
"""The form of a model blob that holds the parameters as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateManifest:
    """What a child's update says of itself.

    Weight 0 without sections is an abstention (``reason`` says why) or the answer to an
    evaluation (``reason`` is empty).
    """

    run: RunId
    path: IterationPath
    node: NodeId
    task: Task
    base: str  # digest of the model this was computed from
    layout: str
    weight: int
    codec: str = ""
    q: float = 0.0  # exact relative error of the quantizer for this very vector
    norm: float = 0.0  # l2 norm of the delta before it; 0 where the codec shares no spacing
    reason: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As it stands in the blob."""
        return {
            "format": FORMAT, "run": hex64(self.run), "path": str(self.path), "node": self.node,
            "task": self.task, "base": self.base, "layout": self.layout, "weight": self.weight,
            "codec": self.codec, "q": self.q, "reason": self.reason,
            "figures": dict(self.figures), **({"norm": self.norm} if self.norm else {}),
        }  # fmt: skip

    @classmethod
    def from_fields(cls, fields: Fields) -> UpdateManifest:
        """Read a manifest.

        Raises:
            WireError: If a field is missing or out of range.
        """
        fields.integer("format", FORMAT, FORMAT)
        return cls(
            run=RunId(fields.hex64("run")),
            path=IterationPath.parse(fields.text("path", characters_max=100)),
            node=fields.node("node"),
            task=fields.choice("task", TASKS),  # type: ignore[arg-type]
            base=fields.digest("base"), layout=fields.digest("layout"),
            weight=fields.integer("weight", 0, WEIGHT_MAX),
            codec=fields.text("codec", characters_max=100), q=fields.number("q", 0, 1e12),
            norm=fields.number("norm", 0, 1e30) if fields.has("norm") else 0.0,
            reason=fields.text("reason", characters_max=REASON_CHARACTERS_MAX),
            figures=fields.object("figures").raw(),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A whole update: manifest and the codec's sections."""

    manifest: UpdateManifest
    sections: tuple[memoryview, ...]


def encode_update(manifest: UpdateManifest, sections: tuple[bytes, ...]) -> bytes:
    """The blob of an update."""
    return encode_blob("update", manifest.to_json(), sections)


def decode_update(blob: bytes | memoryview) -> Update:
    """Read an update.

    Raises:
        WireError: If the blob or its manifest is not as written.
    """
    parsed = decode_blob(blob, kind="update")
    manifest = UpdateManifest.from_fields(parsed.manifest)
    if manifest.weight == 0 and parsed.sections:
        raise WireError("an update of weight 0 carries sections")
    return Update(manifest=manifest, sections=parsed.sections)


def peek_update(start: bytes | memoryview) -> UpdateManifest:
    """Read an update's manifest from its first part.

    Raises:
        WireError: If these bytes do not begin an update.
    """
    return UpdateManifest.from_fields(peek_manifest(start, kind="update"))


_CUT = " ..."


def clip_reason(text: str) -> str:
    """A reason as a manifest or an ack may carry it: one line of ASCII, not too long.

    JSON writes any other character in up to twelve bytes, which no manifest has room for. What is
    too long ends behind a word, where there is one to end behind, and in three dots.
    """
    clipped = text
    if len(text) > REASON_CHARACTERS_MAX:
        room = REASON_CHARACTERS_MAX - len(_CUT)
        clipped = (text[: room + 1].rpartition(" ")[0] or text[:room]) + _CUT
    return "".join(c if " " <= c <= "~" else " " if c.isspace() else "?" for c in clipped)


def encode_model(parameters: npt.NDArray[np.float32], *, model: str, layout: str) -> bytes:
    """The blob of a model, as it is: little-endian float32.

    Args:
        parameters: The flat parameters, float32, shape ``(d,)``.
        model: Their digest.
        layout: The digest of their layout.
    """
    manifest = {
        "format": FORMAT, "form": RAW_FORM, "model": model, "layout": layout,
        "dimension": parameters.size,
    }  # fmt: skip
    return encode_blob("model", manifest, [parameters.astype("<f4", copy=False).tobytes()])


def decode_model(blob: bytes | memoryview) -> tuple[npt.NDArray[np.float32], str, str]:
    """Read a model blob.

    Returns:
        The parameters (float32, shape ``(d,)``, a copy), the model's digest and the layout's, as
        the manifest states them; the caller compares the digest with what it computes.

    Raises:
        WireError: If the blob is not a model in a known form.
    """
    parsed: Blob = decode_blob(blob, kind="model")
    fields = parsed.manifest
    fields.integer("format", FORMAT, FORMAT)
    fields.choice("form", (RAW_FORM,))
    dimension = fields.integer("dimension", 1, DIMENSION_MAX)
    if len(parsed.sections) != 1 or len(parsed.sections[0]) != 4 * dimension:
        raise WireError(f"a model of {dimension} parameters does not have their bytes")
    parameters = np.frombuffer(parsed.sections[0], dtype="<f4").astype(np.float32)
    return parameters, fields.digest("model"), fields.digest("layout")
