"""A child's finished update: durable before it is offered, kept until a later one comes."""

from __future__ import annotations

from pathlib import Path

from fedtier.core.effects import Job
from fedtier.ids import hex64
from fedtier.storage.durable import read_record, write_record


class Outbox:
    """Room for one update: in lock-step a child never owes more."""

    def __init__(self, directory: Path) -> None:
        """Use ``outbox.record`` in a directory."""
        self._place = directory / "outbox.record"

    def put(self, job: Job, blob: bytes) -> None:
        """Keep the update that answers a job.

        Raises:
            StorageError: If the disk does not take it.
        """
        write_record(self._place, _document(job), {"blob": blob})

    def get(self, job: Job) -> bytes | None:
        """The update that answers this very job, if an earlier boot made it.

        Raises:
            StorageError: If the disk does not give it.
        """
        record = read_record(self._place)
        if record is None or record[0] != _document(job):
            return None
        return record[1]["blob"]


def _document(job: Job) -> dict[str, str]:
    return {"run": hex64(job.run), "path": str(job.path), "task": job.task, "base": job.base}
