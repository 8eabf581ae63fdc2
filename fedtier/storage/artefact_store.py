"""The artefact that came over the network, and the parts of one on its way, for the next start.

On disk, ``artefact.parts``: for each part its length (u32, little-endian) and its bytes as they
travelled, which end in a slice with a CRC. It is appended to and never fsynced: a power cut may
cost its end, which is asked for again.
"""

from __future__ import annotations

import logging
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from fedtier.errors import WireError
from fedtier.limits import PART_BYTES_MAX
from fedtier.storage.durable import read_record, storage_error, write_record
from fedtier.wire.parts import HEADER_BYTES_MAX, Part

log = logging.getLogger(__name__)

_LENGTH = struct.Struct("<I")


class ArtefactStore:
    """Room for the artefact installed last, and for parts of the one that is to follow."""

    def __init__(self, directory: Path) -> None:
        """Use ``artefact.record`` and ``artefact.parts`` in a directory."""
        self._place = directory / "artefact.record"
        self._parts = directory / "artefact.parts"

    def put(self, digest: str, blob: bytes) -> None:
        """Keep an artefact's blob, in the place of its parts.

        Args:
            digest: The artefact's.
            blob: What it travelled as.

        Raises:
            StorageError: If the disk does not take it.
        """
        with suppress(OSError):
            self._parts.unlink()
        write_record(self._place, {"artefact": digest}, {"blob": blob})

    def get(self) -> tuple[str, bytes] | None:
        """The digest and the blob of the artefact installed last, or None.

        Raises:
            StorageError: If the disk does not give it.
        """
        record = read_record(self._place)
        return None if record is None else (record[0]["artefact"], record[1]["blob"])

    def save_part(self, part: Part, *, afresh: bool) -> None:
        """Keep a part of an artefact on its way.

        Args:
            part: The part.
            afresh: Whether those kept before it are of no use any more.

        Raises:
            StorageError: If the disk does not take it.
        """
        data = part.encode()
        try:
            self._parts.parent.mkdir(parents=True, exist_ok=True)
            with self._parts.open("wb" if afresh else "ab") as file:
                file.write(_LENGTH.pack(len(data)) + data)
        except OSError as error:
            with suppress(OSError):
                self._parts.unlink()  # what was written of it may be what fills the disk
            raise storage_error(self._parts, "written", error) from error

    def saved_parts(self) -> list[Part]:
        """The parts of an artefact that was on its way when the last boot ended.

        What is not whole is cut off, with all behind it, so that others can be appended.

        Raises:
            StorageError: If the disk does not give them.
        """
        found: list[Part] = []
        try:
            with self._parts.open("rb") as file:
                whole_bytes = 0
                while (part := _read_part(file)) is not None:
                    found.append(part)
                    whole_bytes = file.tell()
                cut_bytes = os.fstat(file.fileno()).st_size - whole_bytes
            if cut_bytes:
                os.truncate(self._parts, whole_bytes)
                fields = {"file": str(self._parts), "parts": len(found), "bytes": cut_bytes}
                log.warning("damaged end cut off", extra=fields)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise storage_error(self._parts, "read", error) from error
        return found


def _read_part(file: BinaryIO) -> Part | None:
    """The next part, or None where there is no whole one."""
    prefix = file.read(_LENGTH.size)
    if len(prefix) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(prefix)
    if length > HEADER_BYTES_MAX + PART_BYTES_MAX:
        return None
    data = file.read(length)
    try:
        return Part.decode(data, kind="artefact") if len(data) == length else None
    except WireError:
        return None
