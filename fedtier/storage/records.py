"""Where one record is kept: in a file that survives, or in memory alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from fedtier.storage.durable import encode_record, read_record, write_durably

Journal = Literal["disk", "ram"]
Record = tuple[dict[str, Any], dict[str, bytes]]


class RecordStore(Protocol):
    """Room for one record; ``bytes_written`` are those it has given to the disk so far."""

    bytes_written: int

    def write(self, document: Mapping[str, Any], arrays: Mapping[str, bytes]) -> None:
        """Put a record in the place of the last one.

        Raises:
            StorageError: If the disk does not take it.
        """
        ...

    def read(self) -> Record | None:
        """The record, or None where there is none.

        Raises:
            StorageError: If the disk does not give it.
        """
        ...


class FileRecord:
    """Keeps it in a file: durable when ``write`` returns, there again after a restart."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self.bytes_written = 0

    def write(self, document: Mapping[str, Any], arrays: Mapping[str, bytes]) -> None:
        """As ``RecordStore.write``."""
        data = encode_record(document, arrays)
        write_durably(self._place, data)
        self.bytes_written += len(data)

    def read(self) -> Record | None:
        """As ``RecordStore.read``."""
        return read_record(self._place)


class RamRecord:
    """Keeps it as long as the process lives, and writes nothing."""

    def __init__(self) -> None:
        self._record: Record | None = None
        self.bytes_written = 0

    def write(self, document: Mapping[str, Any], arrays: Mapping[str, bytes]) -> None:
        """As ``RecordStore.write``."""
        self._record = (dict(document), dict(arrays))

    def read(self) -> Record | None:
        """As ``RecordStore.read``."""
        return self._record
