"""A child's finished update: stored before it is offered, kept until a later one comes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fedtier.core.effects import Job
from fedtier.ids import RunId, hex64
from fedtier.storage.records import FileRecord, Journal, RamRecord, RecordStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where an iteration of a device begins; one that follows another begins where that ended."""

    run: RunId
    round: int
    step: int  # local steps of the round before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What an optimiser keeps from one iteration to the next."""

    start: Start  # of the iteration it is for
    velocity: bytes = field(repr=False)  # float32, little-endian


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

    def put(self, job: Job, blob: bytes, *, carried: Carried | None = None) -> None:
        """Keep the update that answers a job and, in the same rename, what its optimiser keeps.

        Raises:
            StorageError: If the disk does not take it.
        """
        document = _job(job)
        arrays = {"blob": blob}
        if carried is not None:
            document["carried"] = _start(carried.start)
            arrays["velocity"] = carried.velocity
        self._store.write(document, arrays)

    def get(self, job: Job) -> bytes | None:
        """The update that answers this very job, if an earlier boot made it.

        Raises:
            StorageError: If the disk does not give it.
        """
        record = self._store.read()
        if record is None or not _job(job).items() <= record[0].items():
            return None
        return record[1]["blob"]

    def carried(self, start: Start) -> bytes | None:
        """The velocity for an iteration that begins there, if the update before it left one.

        Raises:
            StorageError: If the disk does not give it.
        """
        record = self._store.read()
        if record is None or record[0].get("carried") != _start(start):
            return None
        return record[1]["velocity"]


def _job(job: Job) -> dict[str, object]:
    return {"run": hex64(job.run), "path": str(job.path), "task": job.task, "base": job.base}


def _start(start: Start) -> dict[str, object]:
    return {"run": hex64(start.run), "round": start.round, "step": start.step}
