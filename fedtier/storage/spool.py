"""Received updates awaiting the sum: one compressed file per child, ``<run>/<path>/<child>``.

Spool files need no fsync: until a later head the child's own outbox holds the same bytes, and a
restart counts only what its digest proves whole.
"""

from __future__ import annotations

import hashlib
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from fedtier.errors import WireError
from fedtier.ids import IterationPath, NodeId, RunId, hex64, is_node_id, parse_hex64
from fedtier.limits import BLOB_BYTES_MAX
from fedtier.storage.durable import storage_error

_DIGEST_BYTES = 32


class Spool:
    """The updates of a cell's open iteration, on disk."""

    def __init__(self, directory: Path) -> None:
        """Use a directory; it is made when the first update comes."""
        self._directory = directory

    def put(self, run: RunId, path: IterationPath, child: NodeId, blob: bytes) -> None:
        """Keep an update.

        Raises:
            StorageError: If the disk does not take it.
        """
        place = self._place(run, path) / child
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(hashlib.sha256(blob).digest() + zlib.compress(blob, 1))
        except OSError as error:
            raise storage_error(place, "written", error) from error

    def get(self, run: RunId, path: IterationPath, child: NodeId) -> bytes | None:
        """An update, or None where it is missing or not whole.

        Raises:
            StorageError: If the disk does not give it.
        """
        place = self._place(run, path) / child
        try:
            data = place.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(place, "read", error) from error
        try:
            blob = zlib.decompressobj().decompress(data[_DIGEST_BYTES:], BLOB_BYTES_MAX)
        except zlib.error:
            return None
        return blob if hashlib.sha256(blob).digest() == data[:_DIGEST_BYTES] else None

    def drop(self, run: RunId, path: IterationPath) -> None:
        """Forget an iteration that is closed and durable."""
        shutil.rmtree(self._place(run, path), ignore_errors=True)

    def clear_but(self, run: RunId) -> None:
        """Forget every other run's updates."""
        if self._directory.is_dir():
            for entry in self._directory.iterdir():
                if entry.name != hex64(run):
                    shutil.rmtree(entry, ignore_errors=True)

    def found(self) -> Mapping[tuple[RunId, IterationPath], Mapping[NodeId, bytes]]:
        """All whole updates, by run and path, then by child: what a restart begins with."""
        result: dict[tuple[RunId, IterationPath], dict[NodeId, bytes]] = {}
        for place in self._files():
            try:
                run = RunId(parse_hex64(place.parent.parent.name, what="spool"))
                path = IterationPath.parse(place.parent.name)
            except WireError:
                continue
            blob = self.get(run, path, NodeId(place.name)) if is_node_id(place.name) else None
            if blob is not None:
                result.setdefault((run, path), {})[NodeId(place.name)] = blob
        return result

    def _files(self) -> Iterator[Path]:
        return (place for place in self._directory.glob("*/*/*") if place.is_file())

    def _place(self, run: RunId, path: IterationPath) -> Path:
        return self._directory / hex64(run) / str(path)
