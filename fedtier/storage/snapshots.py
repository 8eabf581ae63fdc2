"""The cloud's durable point: the run, how far it has come, and the model after its last round."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedtier.errors import StorageError
from fedtier.ids import RunId, hex64, parse_hex64
from fedtier.storage.durable import encode_record, read_record, write_durably


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All a cloud needs to go on with a run."""

    run: RunId
    epoch: int
    rounds_done: int
    rounds_trained: int  # of these, the ones in which a member came
    finished: bool  # or given up: nothing goes on with it
    plan: str  # the plan as canonical JSON: a run goes on only under its own
    artefact: str
    model: str  # digest
    blob: bytes
    rms: float = 0.0  # of the coordinates of the last round's deltas; 0 while unknown


class Snapshots:
    """The newest snapshot and the one before it.

    A newest snapshot that is missing or does not verify is passed over for the one before, and
    the epoch rises, so that children who have seen later heads obey the earlier state.
    """

    def __init__(self, directory: Path) -> None:
        """Use ``snapshot.record`` and ``snapshot.before.record`` in a directory."""
        self._newest = directory / "snapshot.record"
        self._before = directory / "snapshot.before.record"
        self._newest_verifies: bool | None = None  # None = not looked at yet

    def write(self, snapshot: Snapshot) -> None:
        """Make a snapshot durable; the one before stays, unless it is damaged.

        Raises:
            StorageError: If the disk does not take it.
        """
        document = {
            "run": hex64(snapshot.run), "epoch": snapshot.epoch,
            "rounds_done": snapshot.rounds_done, "rounds_trained": snapshot.rounds_trained,
            "finished": snapshot.finished, "plan": snapshot.plan,
            "artefact": snapshot.artefact, "model": snapshot.model,
            "rms": snapshot.rms,
        }  # fmt: skip
        if self._newest_verifies is None:
            self._newest_verifies = read_record(self._newest) is not None
        write_durably(
            self._newest,
            encode_record(document, {"blob": snapshot.blob}),
            before=self._before if self._newest_verifies else None,
        )
        self._newest_verifies = True

    def read(self) -> Snapshot | None:
        """The newest snapshot that verifies, or None where there never was one.

        Raises:
            StorageError: If there are snapshots and none verifies, or the disk fails.
        """
        for place, raised in ((self._newest, 0), (self._before, 1)):
            record = read_record(place)
            if record is not None:
                document, arrays = record
                return Snapshot(
                    run=RunId(parse_hex64(document["run"], what=str(place))),
                    epoch=document["epoch"] + raised, rounds_done=document["rounds_done"],
                    rounds_trained=document["rounds_trained"], finished=document["finished"],
                    plan=document["plan"], artefact=document["artefact"], model=document["model"],
                    blob=arrays["blob"], rms=document.get("rms", 0.0),
                )  # fmt: skip
        if self._newest.exists() or self._before.exists():
            raise StorageError(
                f"neither {self._newest} nor {self._before} verifies. Restore one from a backup, "
                "or remove both to begin a new run."
            )
        return None
