"""What a device has accepted, on its disk: the model it serves, and its verdicts of this run."""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass
from pathlib import Path

from edge_agent.inference.ledger import Ledger
from edge_agent.inference.servable import Servable
from fedtier.artefact.evaluate import Score
from fedtier.core.rollout import Version
from fedtier.ids import RunId
from fedtier.storage.durable import read_record, write_record

_SERVED = "served.record"
_LEDGER = "rollout.record"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Served:
    """The accepted model, and how it did on the hold-out when it was."""

    servable: Servable
    score: Score
    data: str  # digest of the data whose hold-out that was


def read_served(state_dir: Path) -> Served | None:
    """The model that was accepted last, or None.

    Raises:
        ConfigError: If it is of a format that this version does not read.
        StorageError: If the disk does not give it.
    """
    record = read_record(state_dir / _SERVED)
    if record is None:
        return None
    document, arrays = record
    return Served(
        servable=Servable.from_record(document["model"], arrays),
        score=Score(**document["score"]),
        data=document["data"],
    )


def write_served(state_dir: Path, served: Served) -> None:
    """Keep a model in the place of the one before, in one rename.

    Raises:
        StorageError: If the disk does not take it.
    """
    model, arrays = served.servable.to_record()
    document = {"model": model, "score": asdict(served.score), "data": served.data}
    write_record(state_dir / _SERVED, document, arrays)


def read_ledger(state_dir: Path) -> Ledger:
    """The verdicts of an earlier boot.

    Raises:
        StorageError: If the disk does not give them.
    """
    record = read_record(state_dir / _LEDGER)
    if record is None:
        return Ledger()
    verdicts = {Version(*version): accepted for version, accepted in record[0]["verdicts"]}
    return Ledger(RunId(record[0]["run"]), verdicts)


def write_ledger(state_dir: Path, ledger: Ledger) -> None:
    """Keep the verdicts.

    Raises:
        StorageError: If the disk does not take them.
    """
    verdicts = [[astuple(version), accepted] for version, accepted in ledger.verdicts.items()]
    write_record(state_dir / _LEDGER, {"run": ledger.run, "verdicts": verdicts}, {})
