"""The control messages beside the head: presence, want, ack. Canonical JSON, all bounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from fedtier.ids import BootNonce, hex64
from fedtier.limits import (
    BLOB_BYTES_MAX,
    CONTROL_BYTES_MAX,
    COUNT_MAX,
    REASON_CHARACTERS_MAX,
    WEIGHT_MAX,
    WINDOW_PARTS,
)
from fedtier.wire.fields import from_json, to_json
from fedtier.wire.head import Beacon, Head
from fedtier.wire.parts import Part

Status = Literal["online", "lost", "leaving"]
Verdict = Literal["want", "accepted", "stale", "rejected"]

STATUSES: tuple[str, ...] = get_args(Status)
VERDICTS: tuple[str, ...] = get_args(Verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Who is there, since which boot, and with what weight it would enter a mean.

    A parent's own presence (on ``all``) says only status and nonce; as a last will it says
    ``lost`` with the nonce of the boot that was lost.
    """

    status: Status
    nonce: BootNonce
    ready: bool = False
    weight: int = 0  # devices, or examples, beneath; 0 = nothing to train with
    beneath: str = ""  # digest of the members this weight stands for, 16 hexadecimal digits
    devices: int = 0  # beneath, for display
    version: str = ""

    def encode(self) -> bytes:
        """The bytes that travel."""
        return to_json(
            {
                "status": self.status, "nonce": hex64(self.nonce), "ready": self.ready,
                "weight": self.weight, "beneath": self.beneath, "devices": self.devices,
                "version": self.version,
            }
        )  # fmt: skip

    @classmethod
    def decode(cls, payload: bytes) -> Presence:
        """Read a presence.

        Raises:
            WireError: If a field is missing or out of range.
        """
        fields = from_json(payload, what="presence", bytes_max=CONTROL_BYTES_MAX)
        return cls(
            status=fields.choice("status", STATUSES),  # type: ignore[arg-type]
            nonce=BootNonce(fields.hex64("nonce")),
            ready=fields.boolean("ready"),
            weight=fields.integer("weight", 0, WEIGHT_MAX),
            beneath=fields.short_digest("beneath"),
            devices=fields.integer("devices", 0, COUNT_MAX),
            version=fields.text("version", characters_max=40),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """A child asks its parent for parts of a blob that the head lists.

    The digest of no blob (64 zeros) asks for the head itself, as that of an old one does.
    """

    digest: str
    parts: tuple[int, ...]

    def encode(self) -> bytes:
        """The bytes that travel."""
        return to_json({"digest": self.digest, "parts": list(self.parts)})

    @classmethod
    def decode(cls, payload: bytes) -> Want:
        """Read a want.

        Raises:
            WireError: If a field is missing or out of range, or more than a window is asked for.
        """
        fields = from_json(payload, what="want", bytes_max=CONTROL_BYTES_MAX)
        parts = fields.integers("parts", 0, BLOB_BYTES_MAX, items_max=WINDOW_PARTS)
        return cls(digest=fields.digest("digest"), parts=parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """A parent's answer to an offer: what it still wants of the update, or its verdict.

    To want the digest of no blob (64 zeros) asks a child that is silent for its offer.
    """

    digest: str  # of the offered blob
    verdict: Verdict
    parts: tuple[int, ...] = ()
    reason: str = ""

    def encode(self) -> bytes:
        """The bytes that travel."""
        return to_json(
            {
                "digest": self.digest, "verdict": self.verdict, "parts": list(self.parts),
                "reason": self.reason,
            }
        )  # fmt: skip

    @classmethod
    def decode(cls, payload: bytes) -> Ack:
        """Read an ack.

        Raises:
            WireError: If a field is missing or out of range.
        """
        fields = from_json(payload, what="ack", bytes_max=CONTROL_BYTES_MAX)
        return cls(
            digest=fields.digest("digest"),
            verdict=fields.choice("verdict", VERDICTS),  # type: ignore[arg-type]
            parts=fields.integers("parts", 0, BLOB_BYTES_MAX, items_max=WINDOW_PARTS),
            reason=fields.text("reason", characters_max=REASON_CHARACTERS_MAX),
        )


Message = Presence | Head | Beacon | Want | Ack | Part
"""Everything that can stand on a topic."""
