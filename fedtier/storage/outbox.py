"""A child's finished update: durable before it is offered, kept until a later one comes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fedtier.core.effects import Job
from fedtier.ids import RunId, hex64
from fedtier.storage.durable import read_record, write_record


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

    def __init__(self, directory: Path) -> None:
        """Use ``outbox.record`` in a directory."""
        self._place = directory / "outbox.record"

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
        write_record(self._place, document, arrays)

    def get(self, job: Job) -> bytes | None:
        """The update that answers this very job, if an earlier boot made it.

        Raises:
            StorageError: If the disk does not give it.
        """
        record = read_record(self._place)
        if record is None or not _job(job).items() <= record[0].items():
            return None
        return record[1]["blob"]

    def carried(self, start: Start) -> bytes | None:
        """The velocity for an iteration that begins there, if the update before it left one.

        Raises:
            StorageError: If the disk does not give it.
        """
        record = read_record(self._place)
        if record is None or record[0].get("carried") != _start(start):
            return None
        return record[1]["velocity"]


def _job(job: Job) -> dict[str, object]:
    return {"run": hex64(job.run), "path": str(job.path), "task": job.task, "base": job.base}


def _start(start: Start) -> dict[str, object]:
    return {"run": hex64(start.run), "round": start.round, "step": start.step}
