"""A client that has no business on a broker, and knows the protocol as well as a node does."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from testbed import Testbed, wait_until

from fedtier.core.effects import NO_BLOB
from fedtier.draws import DrawKey
from fedtier.errors import LinkError, WireError
from fedtier.ids import BootNonce, FederationId, NodeId
from fedtier.quantize.registry import make_codec
from fedtier.wire.blob import blob_digest
from fedtier.wire.head import Beacon, Head
from fedtier.wire.manifest import UpdateManifest, encode_update
from fedtier.wire.messages import Ack, Message, Presence, Want
from fedtier.wire.packets import decode_packet, encode_packet
from fedtier.wire.parts import Outgoing, Part
from fedtier.wire.topics import ALL, ROOT, Topic

EVIL = BootNonce(0xE0E0E0E0E0E0E0E0)
HUGE = 2**32 - 1

Packet = tuple[str, bytes, bool]
"""Topic, payload, retained."""


class Intruder:
    """A client on one cell's broker that hears all it may, and says what it likes."""

    def __init__(
        self, bed: Testbed, connect: Callable[..., Any], cell: str, name: str, **options: Any
    ) -> None:
        self.cell = NodeId(cell)
        self.forger = Forger(
            federation=bed.federation.id, cell=self.cell, part_bytes=bed.federation.plan.part_bytes
        )
        self.transport, self.inbox = connect(bed.urls[self.cell], name, f"{ROOT}/#", **options)
        self.sent: list[Packet] = []

    @property
    def head(self) -> Head | None:
        """The newest head it was told that is the parent's own."""
        for topic, payload, _ in reversed(self.inbox.messages):
            if topic.endswith("/head"):
                try:
                    message = decode_packet(Topic.parse(topic), payload)
                except WireError:
                    continue
                if isinstance(message, Head) and message.nonce != EVIL:
                    return message
        return None

    def say(self, packets: Iterable[Packet]) -> None:
        """Publish what the broker takes; waits until it has judged all of it."""
        for topic, payload, retain in packets:
            with suppress(LinkError):  # larger than this broker takes
                self.transport.publish(topic, payload, qos=1, retain=retain)
                self.sent.append((topic, payload, retain))
        wait_until(lambda: self.transport.queued_bytes == 0, "the broker has judged it all")


@dataclass(frozen=True, kw_only=True)
class Forger:
    """Makes, for a cell's present head, what its children and its parent might have said."""

    federation: FederationId
    cell: NodeId
    part_bytes: int = 65_536

    def update(self, head: Head, child: str, **changes: object) -> bytes:
        """A whole, valid update of a child that pulls every coordinate by one half."""
        codec = make_codec(
            (spec := head.plan.codecs[head.tier - 1]).name, dict(spec.parameters), where="forged"
        )
        encoded = codec.encode(np.full(head.dimension, 0.5, np.float32), DrawKey(k0=1, k1=2))
        member = head.member(NodeId(child))
        manifest = UpdateManifest(
            run=head.run, path=head.path, node=NodeId(child), task=head.task, base=head.model,
            layout=head.layout, weight=1 if member is None else member.weight, codec=codec.text,
        )  # fmt: skip
        manifest = replace(manifest, **changes)
        return encode_update(manifest, encoded.sections if manifest.weight else ())

    def offer(self, head: Head, blob: bytes) -> list[Part]:
        """All parts of an update, the first of which is its offer."""
        outgoing = Outgoing(blob, kind="update", part_bytes=self.part_bytes)
        return [
            outgoing.part(
                index, run=head.run, epoch=head.epoch, path=head.path, nonce=head.nonce,
                seq=head.seq,
            )
            for index in range(outgoing.parts)
        ]  # fmt: skip

    def say(self, node: str, message: Message, *, retain: bool = False) -> Packet:
        topic, payload, _, _ = encode_packet(
            message, federation=self.federation, cell=self.cell, node=NodeId(node)
        )
        return topic, payload, retain

    def raw(self, rest: str, payload: bytes, *, retain: bool = False) -> Packet:
        return f"{ROOT}/{self.federation}/{self.cell}/{rest}", payload, retain

    # In other people's names: what an ACL keeps from arriving

    def as_child(self, head: Head, child: str) -> Iterator[Packet]:
        """In the name of a child of the cell."""
        blob = self.update(head, child)
        for part in self.offer(head, blob):
            yield self.say(child, part)
        yield self.say(child, Want(digest=NO_BLOB, parts=()))
        yield self.say(child, Presence(status="online", nonce=EVIL, ready=True, weight=9))
        yield self.say(child, Presence(status="leaving", nonce=EVIL), retain=True)

    def as_parent(self, head: Head, children: Sequence[str]) -> Iterator[Packet]:
        """In the name of the parent."""
        finished = replace(head, seq=head.seq + 1000, state="finished", members=())
        for forged in (finished, replace(finished, nonce=EVIL, epoch=head.epoch + 1)):
            yield self.say(ALL, forged, retain=True)
        yield self.say(
            ALL,
            Beacon(
                nonce=EVIL, seq=1, run=head.run, epoch=head.epoch, path=head.path, state="open"
            ),
        )  # fmt: skip
        yield self.say(ALL, Presence(status="online", nonce=BootNonce(0), ready=True), retain=True)
        model = Outgoing(bytes(4 * head.dimension), kind="model", part_bytes=self.part_bytes)
        yield self.say(
            ALL,
            replace(
                model.part(
                    0, run=head.run, epoch=head.epoch, path=head.path, nonce=head.nonce,
                    seq=head.seq,
                ),
                digest=head.blobs[0].digest,
            ),
        )  # fmt: skip
        for child in children:
            yield self.say(child, Ack(digest=NO_BLOB, verdict="want"))
            yield self.say(child, Ack(digest="ab" * 32, verdict="accepted"))

    # In one's own name, or under that of nobody: what arrives and must be refused

    def refusable(self, head: Head, me: str) -> Iterator[Packet]:
        """Well-formed, and no answer to this head, whoever says it."""
        wrong = (
            {"weight": 10**6}, {"layout": "ab" * 32}, {"base": "ab" * 32}, {"run": EVIL},
            {"path": head.path.child(0)}, {"node": NodeId("somebody")}, {"task": "gradient"},
            {"weight": 0}, {"figures": {"l": [[99]]}}, {"figures": {"e": "x"}},
        )  # fmt: skip
        for changes in wrong:
            try:
                blob = self.update(head, me, **changes)
            except WireError:
                continue
            for part in self.offer(head, blob):
                yield self.say(me, part)
        honest = self.update(head, me)
        (first, *_) = self.offer(head, honest)
        for claims in (
            {"parts": HUGE}, {"total": HUGE}, {"parts": HUGE, "total": HUGE}, {"parts": 2},
            {"digest": "ab" * 32}, {"epoch": HUGE},
            {"seq": HUGE, "nonce": EVIL, "digest": "0" * 64},
        ):  # fmt: skip
            yield self.say(me, replace(first, **{"digest": blob_digest(b"another"), **claims}))
        yield self.say(me, Want(digest="ab" * 32, parts=tuple(range(16))))
        yield self.say(me, Want(digest=head.blobs[0].digest, parts=(HUGE,) * 16))

    def garbage(self, head: Head, me: str, *, retain: bool = False) -> Iterator[Packet]:
        """What does not verify, on every topic of a node."""
        (first, *_) = self.offer(head, self.update(head, me))
        encoded = first.encode()
        parts = (
            b"", b"\0", encoded[:91], encoded[:-1], encoded[:-1] + b"?", b"X" + encoded[1:],
            encoded[:5] + b"\xff" + encoded[6:], encoded + bytes(1000),
            encoded[:64] + struct.pack("<II", HUGE, HUGE) + encoded[72:],
            encoded[:72] + struct.pack("<QQ", 2**64 - 1, 2**64 - 1) + encoded[88:],
        )  # fmt: skip
        texts = (
            b"[" * 4000, b'{"a":' * 800, b"{}", b"null", b"\xff\xfe{", b'{"nonce":NaN}',
            b'{"nonce":' + b"9" * 4000 + b"}", b'{"nonce":' + b"[" * 900 + b"]" * 900 + b"}",
            json.dumps({"status": ["online"], "nonce": {}, "parts": {}, "digest": [0]}).encode(),
            bytes(60_000),
        )  # fmt: skip
        for payload in parts:
            for place in (f"{me}/update/0", f"{me}/update/{HUGE}", f"{ALL}/model/0"):
                yield self.raw(place, payload)
        for payload in texts:
            for place in (f"{me}/presence", f"{ALL}/presence", f"{ALL}/head"):
                yield self.raw(place, payload, retain=retain)
            for place in (f"{me}/want", f"{me}/ack", f"{me}/metrics", f"{me}/nonsense", me):
                yield self.raw(place, payload)
