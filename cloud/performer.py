"""Does what the cloud's machine asks: spool, sum, snapshot, evaluate, and write the run down."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud.evaluation import Evaluator, HeldOutScore
from cloud.report import RunResult, link_rows, write_run_directory
from fedtier.artefact.artefact import Artefact
from fedtier.core.effects import Aggregate, Effect, Finish, Spool
from fedtier.core.events import Aggregated, Event
from fedtier.core.figures import Figures
from fedtier.core.root import Course
from fedtier.errors import StorageError
from fedtier.ids import FederationId
from fedtier.model.layout import Vector
from fedtier.model.server_step import add
from fedtier.runtime.driver import Driver
from fedtier.runtime.mean import next_model
from fedtier.runtime.usage import process_figures
from fedtier.storage.snapshots import Snapshot, Snapshots
from fedtier.storage.spool import Spool as SpoolFiles
from fedtier.wire.fields import to_json
from fedtier.wire.manifest import decode_model

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a cloud keeps things."""

    state_dir: Path
    run_dir: Path


class Performer:
    """Performs the effects of the cloud's machine that are not messages."""

    def __init__(
        self,
        *,
        federation: FederationId,
        course: Course,
        artefact: Artefact,
        evaluator: Evaluator | None,
        places: Places,
        driver: Driver,
        devices: int,
    ) -> None:
        """Prepare.

        Args:
            federation: Whose run this is.
            course: The run, and how far it has come.
            artefact: What the devices train with.
            evaluator: Scores each round's model on held-out data; None where there are none.
            places: Directories.
            driver: Whose worker thread sums and evaluates.
            devices: How many the federation has.
        """
        self._federation = federation
        self._course = course
        self._artefact = artefact
        self._evaluator = evaluator
        self._run_dir = places.run_dir
        self._driver = driver
        self._devices = devices
        self._spool = SpoolFiles(places.state_dir / "spool")
        self._snapshots = Snapshots(places.state_dir)
        self.finished = False  # whether the run directory is complete
        self._began_s = time.monotonic()
        self._metrics = places.run_dir / "metrics.jsonl"
        self._seconds_before = self._last_seconds()

    def perform(self, effect: Effect) -> None:
        """Do one effect; long work goes to the driver's worker thread."""
        match effect:
            case Spool():
                self._spool.put(effect.run, effect.path, effect.child, effect.blob)
            case Aggregate():
                self._driver.work(lambda: self._aggregate(effect))
            case Finish():
                self._driver.work(lambda: self._finish(effect))
            case _:
                raise AssertionError(f"not the cloud's effect: {effect}")

    def _aggregate(self, aggregate: Aggregate) -> Event:
        before, _, _ = decode_model(aggregate.model)
        new = next_model(before, self._spool, aggregate, step=add)
        self._snapshot(aggregate.done, new.model, new.blob, finished=False)
        self._spool.drop(aggregate.head.run, aggregate.head.path)
        self._spool.clear_but(aggregate.head.run)
        self._record(aggregate, new.vector, new.model)
        return Aggregated(job=aggregate.job, model=new.model, blob=new.blob)

    def _snapshot(self, rounds_done: int, model: str, blob: bytes, *, finished: bool) -> None:
        course = self._course
        self._snapshots.write(
            Snapshot(
                run=course.run,
                epoch=course.epoch,
                rounds_done=rounds_done,
                finished=finished,
                plan=to_json(course.plan.to_json()).decode(),
                artefact=course.artefact,
                model=model,
                blob=blob,
            )
        )

    def _record(self, aggregate: Aggregate, model: Vector, digest: str) -> None:
        held_out = self._score(model)
        figures = aggregate.figures
        steps = figures.trained_steps
        row = {
            "round": aggregate.done - 1,
            "seconds": round(self._seconds(), 3),
            "members": len(aggregate.came),
            "accuracy": held_out.total.accuracy if held_out else None,
            "loss": held_out.total.loss if held_out else None,
            "accuracy_held_out_worst": held_out.worst[1].accuracy if held_out else None,
            "training_loss": figures.trained_loss_units / 2**20 / steps if steps else None,
            "links": link_rows(self._course.plan, figures),
            "model_digest": digest,
        }
        try:
            with self._metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise StorageError(f"{self._metrics} cannot be written: {error}") from error
        shown = {"round": row["round"], "accuracy": row["accuracy"], "loss": row["loss"]}
        log.info("round closed", extra=shown)

    def _finish(self, finish: Finish) -> Event | None:
        snapshot = self._snapshots.read()
        blob = self._course.blob if snapshot is None else snapshot.blob
        model, digest, _ = decode_model(blob)
        figures = finish.figures + Figures(
            tiers={self._course.plan.tiers: process_figures()},
        )
        result = RunResult(
            federation=self._federation,
            run=self._course.run,
            plan=self._course.plan,
            devices=self._devices,
            seconds=self._seconds(),
            held_out=self._score(model),
            figures=figures,
            model=model,
            model_digest=digest,
            artefact=self._artefact,
            rounds=self._rows(),
        )
        write_run_directory(self._run_dir, result)
        self._snapshot(self._course.plan.rounds, digest, blob, finished=True)
        self.finished = True
        log.info("run finished", extra={"report": str(self._run_dir / "report.json")})
        self._driver.stop()
        return None

    def _score(self, model: Vector) -> HeldOutScore | None:
        return None if self._evaluator is None else self._evaluator.score(model)

    def _seconds(self) -> float:
        """Seconds of this run, those before a restart included."""
        return self._seconds_before + time.monotonic() - self._began_s

    def _last_seconds(self) -> float:
        rows = self._rows()
        return float(rows[-1]["seconds"]) if rows else 0.0

    def _rows(self) -> list[dict[str, Any]]:
        if not self._metrics.exists():
            return []
        lines = self._metrics.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]
