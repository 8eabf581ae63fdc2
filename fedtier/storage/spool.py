"""Received updates awaiting the sum: one compressed file per child, ``<run>/<path>/<child>``.

On disk: ``FTS1``, bytes of the blob (u32), SHA-256 of the rest, the rest: the blob as zlib wrote
it. Little-endian. Nothing is decompressed that is not proved to be as it was written.

Spool files need no fsync: until a later head the child's own outbox holds the same bytes, and a
restart counts only what its digest proves whole.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fedtier.core.aggregator import Spooled
from fedtier.core.intake import Held
from fedtier.errors import WireError
from fedtier.ids import IterationPath, NodeId, RunId, hex64, is_node_id, parse_hex64
from fedtier.storage.durable import storage_error
from fedtier.wire.blob import blob_digest
from fedtier.wire.manifest import peek_update

log = logging.getLogger(__name__)

_MAGIC = b"FTS1"
_HEADER = struct.Struct("<4sI32s")


class Spool:
    """The updates of a cell's open iteration, on disk."""

    def __init__(self, directory: Path) -> None:
        """Use a directory; it is made when the first update comes."""
        self._directory = directory
        self._lock = threading.Lock()  # updates come in on one thread while another drops some
        # By this process, in the order of each one's last update.
        self._begun: dict[tuple[RunId, IterationPath], None] = {}

    def put(self, run: RunId, path: IterationPath, child: NodeId, blob: bytes) -> None:
        """Keep an update.

        Raises:
            StorageError: If the disk does not take it.
        """
        place = self._place(run, path, child)
        packed = zlib.compress(blob, 1)
        header = _HEADER.pack(_MAGIC, len(blob), hashlib.sha256(packed).digest())
        with self._lock:
            # One that was preempted and is taken up again is begun anew, and counts as later.
            self._begun.pop((run, path), None)
            self._begun[run, path] = None
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("wb") as file:
                    file.write(header)
                    file.write(packed)
            except OSError as error:
                with suppress(OSError):
                    place.unlink()  # what was written of it may be what fills the disk
                raise storage_error(place, "written", error) from error

    def get(self, run: RunId, path: IterationPath, child: NodeId) -> bytes | None:
        """An update, or None where it is missing or not whole.

        Raises:
            StorageError: If the disk does not give it.
        """
        place = self._place(run, path, child)
        try:
            data = place.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(place, "read", error) from error
        blob = _unpacked(data)
        if blob is None:
            log.warning("damaged file passed over", extra={"file": str(place), "bytes": len(data)})
        return blob

    def drop(self, run: RunId, path: IterationPath) -> None:
        """Forget an iteration that is closed and durable, and those begun before it."""
        with self._lock:
            shutil.rmtree(self._cell(run, path), ignore_errors=True)
            if (run, path) not in self._begun:
                return
            for begun in list(self._begun):
                shutil.rmtree(self._cell(*begun), ignore_errors=True)
                del self._begun[begun]
                if begun == (run, path):
                    return

    def clear_but(self, run: RunId) -> None:
        """Forget every other run's updates, but for what was begun since the last ``drop``."""
        with self._lock:
            kept = {hex64(run), *(hex64(begun) for begun, _ in self._begun)}
            if not self._directory.is_dir():
                return
            for entry in self._directory.iterdir():
                if entry.name not in kept:
                    shutil.rmtree(entry, ignore_errors=True)

    def found(self) -> Spooled:
        """What is known of all whole updates: what a restart begins with.

        One is read at a time and none is kept: memory is that of the largest, however many there
        are.

        Raises:
            StorageError: If the disk does not give one.
        """
        result: dict[tuple[RunId, IterationPath], dict[NodeId, Held]] = {}
        for place in self._files():
            try:
                run = RunId(parse_hex64(place.parent.parent.name, what="spool"))
                path = IterationPath.parse(place.parent.name)
            except WireError:
                continue
            if not is_node_id(place.name):
                continue
            held = self._held(run, path, NodeId(place.name))
            if held is not None:
                result.setdefault((run, path), {})[NodeId(place.name)] = held
        return result

    def _held(self, run: RunId, path: IterationPath, child: NodeId) -> Held | None:
        blob = self.get(run, path, child)
        if blob is None:
            return None
        try:
            return Held(digest=blob_digest(blob), manifest=peek_update(blob))
        except WireError as error:  # whole, and yet no update: another version's
            place = self._place(run, path, child)
            log.warning("file passed over", extra={"file": str(place), "reason": str(error)})
            return None

    def _files(self) -> Iterator[Path]:
        return (place for place in sorted(self._directory.glob("*/*/*")) if place.is_file())

    def _cell(self, run: RunId, path: IterationPath) -> Path:
        return self._directory / hex64(run) / str(path)

    def _place(self, run: RunId, path: IterationPath, child: NodeId) -> Path:
        assert is_node_id(child), f"{child!r} would be a path, not a name"
        return self._cell(run, path) / child


def _unpacked(data: bytes) -> bytes | None:
    if len(data) < _HEADER.size:
        return None
    magic, blob_bytes, digest = _HEADER.unpack_from(data)
    packed = memoryview(data)[_HEADER.size :]
    if magic != _MAGIC or hashlib.sha256(packed).digest() != digest:
        return None
    stream = zlib.decompressobj()
    try:
        blob = stream.decompress(packed, blob_bytes + 1)  # 0 would mean without a bound
    except zlib.error:
        return None
    return blob if stream.eof and len(blob) == blob_bytes else None
