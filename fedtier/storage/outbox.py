"""A child's finished update: stored before it is offered, kept until a later one comes."""

from __future__ import annotations

from pathlib import Path

from fedtier.core.effects import Job
from fedtier.ids import hex64
from fedtier.storage.records import FileRecord, Journal, RamRecord, RecordStore


class Outbox:
    """Room for one update: in lock-step a child never owes more."""

    def __init__(self, directory: Path, *, journal: Journal = "disk") -> None:
        """Use ``outbox.record`` in a directory, or memory alone.

        With ``"ram"`` a restart finds nothing and the child does its work again: all that is random
        about it is addressed, so the same delta comes out, to the bit.
        """
        disk = journal == "disk"
        self._store: RecordStore = FileRecord(directory / "outbox.record") if disk else RamRecord()

    @property
    def bytes_written(self) -> int:
        """What it has given to the disk so far; file systems write more, in whole blocks."""
        return self._store.bytes_written

    def put(self, job: Job, blob: bytes) -> None:
        """Keep the update that answers a job.

        Raises:
            StorageError: If the disk does not take it.
        """
        self._store.write(_document(job), {"blob": blob})

    def get(self, job: Job) -> bytes | None:
        """The update that answers this very job, if an earlier boot made it.

        Raises:
            StorageError: If the disk does not give it.
        """
        record = self._store.read()
        if record is None or record[0] != _document(job):
            return None
        return record[1]["blob"]


def _document(job: Job) -> dict[str, str]:
    return {"run": hex64(job.run), "path": str(job.path), "task": job.task, "base": job.base}
