"""A blob: a manifest and binary sections in one run of bytes, the unit of transfer.

Little-endian, no padding inside the header::

    0   4  magic "FTB1"
    4   1  kind: 1 update, 2 model, 3 artefact
    5   1  zero
    6   2  number of sections, <= 64
    8   4  bytes of the manifest, <= 3584
    12  8  bytes of the whole blob
    20     per section: offset u64, length u64
    ..     manifest, canonical JSON
    ..     sections, each at a multiple of 64, in order, zero bytes between

Header, table and manifest together have at most 3968 bytes, so that the smallest first part
holds them. A blob is named by the SHA-256 of all its bytes, which every part's header carries.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fedtier.errors import WireError
from fedtier.limits import BLOB_BYTES_MAX, MANIFEST_BYTES_MAX, PART_BYTES_MIN, SECTIONS_MAX
from fedtier.wire.fields import Fields, from_json, to_json

BlobKind = Literal["update", "model", "artefact"]

_MAGIC = b"FTB1"
_HEADER = struct.Struct("<4sBBHIQ")
_SECTION = struct.Struct("<QQ")
_ALIGNMENT = 64
_START_BYTES_MAX = PART_BYTES_MIN - 128  # of header, table and manifest; 128 for a part's header
_KINDS: dict[int, BlobKind] = {1: "update", 2: "model", 3: "artefact"}
_CODES = {kind: code for code, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A blob taken apart; the sections are views into the bytes it was read from."""

    kind: BlobKind
    manifest: Fields
    sections: tuple[memoryview, ...]


def blob_digest(data: bytes | bytearray | memoryview) -> str:
    """The name of a blob: SHA-256 of its bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def encode_blob(kind: BlobKind, manifest: Mapping[str, Any], sections: Sequence[bytes]) -> bytes:
    """Put a blob together.

    Raises:
        WireError: If the manifest or the whole is larger than a receiver would take.
    """
    assert len(sections) <= SECTIONS_MAX, len(sections)
    text = to_json(manifest)
    if len(text) > MANIFEST_BYTES_MAX:
        raise WireError(
            f"a manifest of {len(text)} bytes is too large; at most {MANIFEST_BYTES_MAX}"
        )
    position = _HEADER.size + _SECTION.size * len(sections) + len(text)
    if position > _START_BYTES_MAX:
        raise WireError(f"header and manifest take {position} bytes; at most {_START_BYTES_MAX}")
    table = bytearray()
    body: list[bytes] = []
    for section in sections:
        gap = -position % _ALIGNMENT
        table += _SECTION.pack(position + gap, len(section))
        body += [bytes(gap), section]
        position += gap + len(section)
    if position > BLOB_BYTES_MAX:
        raise WireError(f"a blob of {position} bytes is too large; at most {BLOB_BYTES_MAX}")
    header = _HEADER.pack(_MAGIC, _CODES[kind], 0, len(sections), len(text), position)
    return b"".join([header, bytes(table), text, *body])


def peek_manifest(start: bytes | memoryview, *, kind: BlobKind) -> Fields:
    """Read the manifest from the first part of a blob, before the rest has come.

    Raises:
        WireError: If these bytes do not begin a blob of this kind, or the manifest is cut off.
    """
    sections, manifest_bytes, _ = _read_header(start, kind=kind)
    offset = _HEADER.size + _SECTION.size * sections
    if offset + manifest_bytes > len(start):
        raise WireError("the first part ends before the manifest does")
    return from_json(
        memoryview(start)[offset : offset + manifest_bytes],
        what=f"{kind} manifest",
        bytes_max=MANIFEST_BYTES_MAX,
    )


def decode_blob(data: bytes | memoryview, *, kind: BlobKind) -> Blob:
    """Take a whole blob apart, checking every length before it is believed.

    Raises:
        WireError: If anything about the bytes is not as written by ``encode_blob``.
    """
    view = memoryview(data).toreadonly()
    count, manifest_bytes, total = _read_header(view, kind=kind)
    if total != len(view):
        raise WireError(f"the blob says it has {total} bytes, it has {len(view)}")
    manifest = peek_manifest(view, kind=kind)
    position = _HEADER.size + _SECTION.size * count + manifest_bytes
    sections = []
    for index in range(count):
        offset, length = _SECTION.unpack_from(view, _HEADER.size + _SECTION.size * index)
        if offset != position + -position % _ALIGNMENT or offset + length > total:
            raise WireError(f"section {index} at {offset} with {length} bytes is out of place")
        if any(view[position:offset]):
            raise WireError(f"the bytes before section {index} are not zero")
        sections.append(view[offset : offset + length])
        position = offset + length
    if position != total:
        raise WireError(f"{total - position} bytes follow the last section")
    return Blob(kind=kind, manifest=manifest, sections=tuple(sections))


def _read_header(data: bytes | memoryview, *, kind: BlobKind) -> tuple[int, int, int]:
    if len(data) < _HEADER.size:
        raise WireError(f"{len(data)} bytes are too few for a blob")
    magic, code, zero, sections, manifest_bytes, total = _HEADER.unpack_from(data)
    if magic != _MAGIC or zero != 0:
        raise WireError(f"a blob begins with {_MAGIC!r} 0, not {bytes(magic)!r} {zero}")
    if _KINDS.get(code) != kind:
        raise WireError(f"a blob of kind {code} came where a {kind} belongs")
    if sections > SECTIONS_MAX:
        raise WireError(f"a blob with {sections} sections; at most {SECTIONS_MAX} are allowed")
    if manifest_bytes > MANIFEST_BYTES_MAX:
        raise WireError(f"a manifest of {manifest_bytes} bytes; at most {MANIFEST_BYTES_MAX}")
    start_bytes = _HEADER.size + _SECTION.size * sections + manifest_bytes
    if start_bytes > _START_BYTES_MAX:
        raise WireError(f"header and manifest take {start_bytes} bytes; at most {_START_BYTES_MAX}")
    if start_bytes > total:
        raise WireError("the blob's own size leaves no room for its manifest")
    return sections, manifest_bytes, total
