"""A blob cut into parts for the network, and put together again in any order.

Every part's payload is a header and a slice of the blob. Little-endian::

    0   4  magic "FTP1"
    4   1  kind: 1 update, 2 model, 3 artefact
    5   1  indices in the path, 1..8
    6   2  zero
    8   8  run
    16  4  epoch
    20  8  boot nonce of the parent whose head this answers or carries
    28  4  seq of that head
    32 32  SHA-256 of the blob
    64  4  part
    68  4  parts
    72  8  offset of the slice in the blob
    80  8  bytes of the whole blob
    88  4  CRC-32 (zlib) of the slice
    92 4n  path
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from fedtier.errors import WireError
from fedtier.ids import BootNonce, IterationPath, RunId
from fedtier.limits import BLOB_BYTES_MAX, PART_BYTES_MAX, PART_BYTES_MIN, TIERS_MAX
from fedtier.wire.blob import BlobKind, blob_digest

_MAGIC = b"FTP1"
_HEADER = struct.Struct("<4sBBHQIQI32sIIQQI")
_KINDS: dict[int, BlobKind] = {1: "update", 2: "model", 3: "artefact"}
_CODES = {kind: code for code, kind in _KINDS.items()}

HEADER_BYTES_MAX = _HEADER.size + 4 * TIERS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One slice of a blob with all that is needed to put it where it belongs."""

    kind: BlobKind
    run: RunId
    epoch: int
    path: IterationPath
    nonce: BootNonce
    seq: int
    digest: str  # of the whole blob
    part: int
    parts: int
    offset: int
    total: int  # bytes of the whole blob
    payload: bytes | memoryview

    def encode(self) -> bytes:
        """The bytes that travel."""
        indices = self.path.indices
        header = _HEADER.pack(
            _MAGIC, _CODES[self.kind], len(indices), 0, self.run, self.epoch, self.nonce, self.seq,
            bytes.fromhex(self.digest), self.part, self.parts, self.offset, self.total,
            zlib.crc32(self.payload),
        )  # fmt: skip
        return b"".join([header, struct.pack(f"<{len(indices)}I", *indices), self.payload])

    @classmethod
    def decode(cls, data: bytes, *, kind: BlobKind) -> Part:
        """Read one part.

        Raises:
            WireError: If magic, kind, path, numbers or CRC are not right.
        """
        if len(data) < _HEADER.size:
            raise WireError(f"{len(data)} bytes are too few for a part")
        (magic, code, length, zero, run, epoch, nonce, seq, digest, part, parts, offset, total,
         crc) = _HEADER.unpack_from(data)  # fmt: skip
        if magic != _MAGIC or zero != 0 or _KINDS.get(code) != kind:
            raise WireError(f"no part of the kind {kind!r}")
        start = _HEADER.size + 4 * length
        if not 1 <= length <= TIERS_MAX or len(data) < start:
            raise WireError(f"a part with {length} path indices in {len(data)} bytes")
        payload = memoryview(data)[start:]
        if total > BLOB_BYTES_MAX or not part < parts or offset + len(payload) > total:
            raise WireError(f"part {part} of {parts}: {offset}+{len(payload)} of {total} bytes")
        if not payload or len(payload) > PART_BYTES_MAX:
            raise WireError(f"a part with {len(payload)} bytes of payload")
        if zlib.crc32(payload) != crc:
            raise WireError(f"part {part} of {parts} has a wrong CRC")
        indices = struct.unpack_from(f"<{length}I", data, _HEADER.size)
        return cls(
            kind=kind, run=RunId(run), epoch=epoch, path=IterationPath(indices),
            nonce=BootNonce(nonce), seq=seq, digest=digest.hex(), part=part, parts=parts,
            offset=offset, total=total, payload=payload,
        )  # fmt: skip


def slice_bytes(part_bytes: int) -> int:
    """Bytes of a blob that fit into one part of ``part_bytes`` on the wire, header included."""
    return part_bytes - HEADER_BYTES_MAX


def count_parts(total: int, part_bytes: int) -> int:
    """How many parts a blob of ``total`` bytes is cut into."""
    return -(-total // slice_bytes(part_bytes))


class Outgoing:
    """A blob ready to be sent, part by part, as often as it is asked for."""

    __slots__ = ("_blob", "_slice_bytes", "digest", "kind", "parts")

    def __init__(self, blob: bytes, *, kind: BlobKind, part_bytes: int) -> None:
        self._blob = memoryview(blob)
        self._slice_bytes = slice_bytes(part_bytes)
        self.kind: BlobKind = kind
        self.digest = blob_digest(blob)
        self.parts = count_parts(len(blob), part_bytes)

    @property
    def total(self) -> int:
        """Bytes of the whole blob."""
        return len(self._blob)

    def part(
        self, index: int, *, run: RunId, epoch: int, path: IterationPath, nonce: BootNonce, seq: int
    ) -> Part:
        """Part ``index``, addressed to the iteration whose head is (nonce, seq)."""
        offset = index * self._slice_bytes
        return Part(
            kind=self.kind, run=run, epoch=epoch, path=path, nonce=nonce, seq=seq,
            digest=self.digest, part=index, parts=self.parts, offset=offset,
            total=len(self._blob), payload=self._blob[offset : offset + self._slice_bytes],
        )  # fmt: skip


class Incoming:
    """A slot in which one blob is put together, whatever the order and repeats of its parts."""

    __slots__ = ("_buffer", "_missing", "_slice_bytes", "digest", "parts", "total")

    def __init__(self, *, digest: str, total: int, parts: int, bytes_max: int) -> None:
        """Make room for a blob.

        Args:
            digest: Its SHA-256.
            total: Its size in bytes, as announced.
            parts: How many parts it comes in, as announced.
            bytes_max: The largest size that makes sense here; nothing is allocated beyond it.

        Raises:
            WireError: If the announced numbers cannot be.
        """
        if not 0 < total <= bytes_max:
            raise WireError(f"a blob of {total} bytes; at most {bytes_max} are expected here")
        parts_max = count_parts(total, PART_BYTES_MIN)
        if not 0 < parts <= parts_max:
            raise WireError(f"{total} bytes come in 1 to {parts_max} parts, not {parts}")
        self.digest = digest
        self.total = total
        self.parts = parts
        self._slice_bytes: int | None = total if parts == 1 else None
        self._buffer = bytearray(total)
        self._missing = dict.fromkeys(range(parts))  # ordered, O(1) to strike out

    @property
    def part_bytes(self) -> int:
        """The most that one part can carry."""
        return -(-self.total // max(1, self.parts - 1))

    @property
    def left(self) -> int:
        """How many parts have not come."""
        return len(self._missing)

    @property
    def complete(self) -> bool:
        """Whether every part has come."""
        return not self._missing

    def missing(self, count_max: int) -> tuple[int, ...]:
        """The first parts still missing, at most ``count_max``."""
        return tuple(index for index, _ in zip(self._missing, range(count_max), strict=False))

    def add(self, part: Part) -> bool:
        """Put a part in its place.

        Returns:
            Whether it was new.

        Raises:
            WireError: If the part does not fit this blob.
        """
        if (part.digest, part.total, part.parts) != (self.digest, self.total, self.parts):
            raise WireError(f"part {part.part} belongs to another blob")
        if part.part not in self._missing:
            return False
        last = part.part == self.parts - 1
        slice_bytes = self._slice_bytes
        if slice_bytes is None:  # learnt from the first part that fits
            slice_bytes = part.offset // part.part if last else len(part.payload)
            if count_slices(self.total, slice_bytes) != self.parts:
                raise WireError(f"parts of {slice_bytes} bytes do not make {self.parts}")
        offset = part.part * slice_bytes
        expected = self.total - offset if last else slice_bytes
        if (part.offset, len(part.payload)) != (offset, expected):
            raise WireError(
                f"part {part.part} has {len(part.payload)} bytes at {part.offset}, "
                f"not {expected} at {offset}"
            )
        self._slice_bytes = slice_bytes
        self._buffer[offset : offset + expected] = part.payload
        del self._missing[part.part]
        return True

    def take(self) -> bytes:
        """The whole blob.

        Raises:
            WireError: If its SHA-256 is not the announced one; the slot is of no more use then.
        """
        assert self.complete, f"{len(self._missing)} parts are missing"
        blob = bytes(self._buffer)
        if blob_digest(blob) != self.digest:
            raise WireError(f"a blob of {self.total} bytes does not have the announced digest")
        return blob


def count_slices(total: int, slice_length: int) -> int:
    """How many slices of one length (the last may be shorter) make up ``total`` bytes."""
    return -(-total // slice_length) if slice_length > 0 else 0
