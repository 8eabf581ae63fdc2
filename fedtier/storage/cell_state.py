"""A gateway's durable points: the last closed iteration, and what it announced to its parent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fedtier.core.aggregator import Resume
from fedtier.core.effects import Job
from fedtier.core.figures import Figures
from fedtier.ids import IterationPath, NodeId, RunId, hex64, parse_hex64
from fedtier.storage.durable import read_record, write_record
from fedtier.wire.head import Member

Announced = Mapping[str, tuple[Member, ...]]

_ANNOUNCEMENTS_MAX = 16


class CellState:
    """What a gateway's process needs to go on where the last one stopped."""

    def __init__(self, directory: Path) -> None:
        """Use ``iteration.record`` and ``announced.record`` in a directory."""
        self._iteration = directory / "iteration.record"
        self._announced = directory / "announced.record"

    def close(
        self,
        *,
        above: Job,
        done: int,
        trained: int,
        model: str,
        blob: bytes,
        figures: Figures,
        rms: float = 0.0,
    ) -> None:
        """Make a closed iteration durable; the arguments are the fields of ``Resume``.

        Raises:
            StorageError: If the disk does not take it.
        """
        document = {
            "run": hex64(above.run), "path": str(above.path), "base": above.base,
            "task": above.task, "done": done, "trained": trained, "model": model,
            "figures": figures.to_json(), "rms": rms,
        }  # fmt: skip
        write_record(self._iteration, document, {"blob": blob})

    def resume(self) -> Resume | None:
        """The last closed iteration, if there is one that verifies.

        Without one the gateway begins its parent's iteration anew, with the same result.

        Raises:
            StorageError: If the disk does not give it.
        """
        record = read_record(self._iteration)
        if record is None:
            return None
        document, arrays = record
        above = Job(
            run=RunId(parse_hex64(document["run"], what=str(self._iteration))),
            path=IterationPath.parse(document["path"]), task=document["task"],
            base=document["base"],
        )  # fmt: skip
        return Resume(
            above=above, done=document["done"], trained=document["trained"],
            model=document["model"], blob=arrays["blob"],
            figures=Figures.from_json(document.get("figures", {})), rms=document.get("rms", 0.0),
        )  # fmt: skip

    def remember(self, beneath: str, members: tuple[Member, ...]) -> None:
        """Store what is about to be announced under a digest.

        Raises:
            StorageError: If the disk does not take it.
        """
        known = dict(self.announced())
        known.pop(beneath, None)
        known[beneath] = members
        newest = list(known.items())[-_ANNOUNCEMENTS_MAX:]
        rows = [[key, [[m.node, m.weight, m.beneath] for m in value]] for key, value in newest]
        write_record(self._announced, {"announced": rows}, {})

    def announced(self) -> Announced:
        """All that was announced lately, as far as it verifies.

        Without it the gateway abstains from a round that is open, and joins again at the next.

        Raises:
            StorageError: If the disk does not give it.
        """
        record = read_record(self._announced)
        if record is None:
            return {}
        return {
            key: tuple(Member(node=NodeId(n), weight=w, beneath=b) for n, w, b in members)
            for key, members in record[0]["announced"]
        }
