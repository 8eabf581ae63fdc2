"""Durable records: a JSON document and binary arrays in one file, replaced in one rename.

On disk: ``FTR1``, bytes of the document (u32), the document (JSON; its ``arrays`` lists each
array's name and bytes), the arrays, SHA-256 of all before. Little-endian.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fedtier.errors import StorageError

log = logging.getLogger(__name__)

_MAGIC = b"FTR1"
_HEADER = struct.Struct("<4sI")
_DIGEST_BYTES = 32


def write_durably(path: Path, data: bytes, *, before: Path | None = None) -> None:
    """Replace a file so that after a power cut it holds the old bytes or the new, never a mix.

    Args:
        path: The file.
        data: All it is to hold.
        before: Where to keep the old file, if there is one. A power cut may then leave no file
            at ``path``, but never without the old one at ``before``.

    Raises:
        StorageError: If the disk does not take it. The old file is then untouched, unless it was
            only the directory that could not be written back.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if before is not None and path.exists():
            path.replace(before)
        fresh.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink()  # what was written of it may be what fills the disk
        raise storage_error(path, "written", error) from error


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file, and have it on the disk.

    Raises:
        StorageError: If the disk does not take it.
    """
    try:
        with path.open("ab") as file:
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise storage_error(path, "written", error) from error


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def storage_error(path: Path, verb: str, error: OSError) -> StorageError:
    """What to tell the operator of a disk that failed."""
    return StorageError(
        f"{path} cannot be {verb}: {error.strerror or error}. Free space or mend the disk, then "
        "start again: everything accepted so far is kept."
    )


def encode_record(document: Mapping[str, Any], arrays: Mapping[str, bytes]) -> bytes:
    """The bytes of a record."""
    listing = [[name, len(content)] for name, content in arrays.items()]
    text = json.dumps({"document": document, "arrays": listing}, sort_keys=True).encode()
    body = b"".join([_HEADER.pack(_MAGIC, len(text)), text, *arrays.values()])
    return body + hashlib.sha256(body).digest()


def write_record(path: Path, document: Mapping[str, Any], arrays: Mapping[str, bytes]) -> None:
    """Write a record durably.

    Raises:
        StorageError: If the disk does not take it.
    """
    write_durably(path, encode_record(document, arrays))


def read_record(path: Path) -> tuple[dict[str, Any], dict[str, bytes]] | None:
    """Read a record.

    Returns:
        The document and the arrays, or None where there is no file or its bytes do not verify
        (which is logged). What does verify was written by ``encode_record``, and is believed.

    Raises:
        StorageError: If the disk does not give it.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error(path, "read", error) from error
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    whole = len(body) >= _HEADER.size and hashlib.sha256(body).digest() == digest
    if not whole or not body.startswith(_MAGIC):
        log.warning("damaged file passed over", extra={"file": str(path), "bytes": len(data)})
        return None
    _, text_bytes = _HEADER.unpack_from(body)
    content = json.loads(body[_HEADER.size : _HEADER.size + text_bytes])
    arrays, offset = {}, _HEADER.size + text_bytes
    for name, length in content["arrays"]:
        arrays[name] = body[offset : offset + length]
        offset += length
    return content["document"], arrays
