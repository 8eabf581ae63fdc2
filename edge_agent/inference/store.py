"""What a device has accepted, on its disk: the model it serves, and its verdicts of this run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from edge_agent.inference.ledger import Ledger
from edge_agent.inference.servable import Servable
from fedtier.artefact.evaluate import Score
from fedtier.core.rollout import Version
from fedtier.ids import RunId
from fedtier.storage.durable import read_record, write_record

log = logging.getLogger(__name__)

_FORMAT = 1  # of both records; what was kept in another is passed over
_SERVED = "served.record"
_LEDGER = "rollout.record"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Served:
    """The accepted model, and how it did on the hold-out when it was."""

    servable: Servable
    score: Score
    data: str  # digest of the data whose hold-out that was


def read_served(state_dir: Path) -> Served | None:
    """The model that was accepted last; None where there is none that this version reads.

    Raises:
        ConfigError: If its manifest is of a format that this version does not read.
        StorageError: If the disk does not give it.
    """
    record = _read(state_dir / _SERVED)
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
    write_record(state_dir / _SERVED, {"format": _FORMAT, **document}, arrays)


def read_ledger(state_dir: Path) -> Ledger:
    """The verdicts of an earlier boot; none where this version does not read them.

    Raises:
        StorageError: If the disk does not give them.
    """
    record = _read(state_dir / _LEDGER)
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
    document = {"format": _FORMAT, "run": ledger.run, "verdicts": verdicts}
    write_record(state_dir / _LEDGER, document, {})


def _read(path: Path) -> tuple[Mapping[str, Any], Mapping[str, bytes]] | None:
    record = read_record(path)
    if record is None or record[0].get("format") == _FORMAT:
        return record
    log.warning("file of another version passed over", extra={"file": str(path)})
    return None
