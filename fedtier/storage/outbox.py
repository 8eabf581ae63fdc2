"""A child's finished update: stored before it is offered, kept until a later one comes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fedtier.core.effects import Job
from fedtier.ids import RunId, hex64
from fedtier.storage.records import FileRecord, Journal, RamRecord, RecordStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where an iteration of a device begins; one that follows another begins where that ended."""

    run: RunId
    round: int
    step: int  # local steps of the round before it


What = Literal["velocity", "end"]
"""What is kept for the next iteration: an optimiser's momentum, or where the steps ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A vector that is kept from one iteration to the next."""

    start: Start  # of the iteration it is for
    vector: bytes = field(repr=False)  # float32, little-endian
    what: What = "velocity"


class Outbox:
    """Room for one update: in lock-step a child never owes more."""

    def __init__(self, directory: Path, *, journal: Journal = "disk") -> None:
        """Use ``outbox.record`` in a directory, or memory alone.

        With ``"ram"`` a restart finds nothing and the child does its work again: all that is random
        about it is addressed, so the same delta comes out, to the bit. What is carried cannot be
        had again, so an update that carries something goes to the disk all the same.
        """
        self._file = FileRecord(directory / "outbox.record")
        self._store: RecordStore = self._file if journal == "disk" else RamRecord()

    @property
    def bytes_written(self) -> int:
        """What it has given to the disk so far; file systems write more, in whole blocks."""
        return self._file.bytes_written

    def put(self, job: Job, blob: bytes, *, carried: Carried | None = None) -> None:
        """Keep the update that answers a job and, in the same rename, what is carried.

        Raises:
            StorageError: If the disk does not take it.
        """
        if carried is None:
            self._store.write(_job(job), {"blob": blob})
            return
        document = _job(job) | {"carried": _start(carried.start)}
        self._file.write(document, {"blob": blob, carried.what: carried.vector})

    def get(self, job: Job) -> bytes | None:
        """The update that answers this very job, if an earlier boot made it.

        Raises:
            StorageError: If the disk does not give it.
        """
        for store in dict.fromkeys((self._store, self._file)):  # one, with "disk"
            record = store.read()
            if record is not None and _job(job).items() <= record[0].items():
                return record[1]["blob"]
        return None

    def carried(self, start: Start, what: What = "velocity") -> bytes | None:
        """The vector for an iteration that begins there, if the update before it left one.

        Raises:
            StorageError: If the disk does not give it.
        """
        record = self._file.read()
        if record is None or record[0].get("carried") != _start(start):
            return None
        return record[1].get(what)


def _job(job: Job) -> dict[str, object]:
    return {"run": hex64(job.run), "path": str(job.path), "task": job.task, "base": job.base}


def _start(start: Start) -> dict[str, object]:
    return {"run": hex64(start.run), "round": start.round, "step": start.step}
