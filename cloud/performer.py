"""Does what the cloud's machine asks: spool, sum, snapshot, evaluate, and write the run down."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud.estimate import ESTIMATES_FILE, estimates_by_times, estimates_of
from cloud.evaluation import Evaluator, HeldOutScore
from cloud.node_usage import NodeUsage
from cloud.pilot import Findings, PilotLog, finding_of_round
from cloud.report import RunResult, link_rows, reason_rows, rollout_rows, write_run_directory
from cloud.round_lines import RoundLines
from cloud.steering import Steering
from fedtier.artefact.artefact import Artefact
from fedtier.core.effects import Aggregate, Effect, Finish, Spool
from fedtier.core.events import Aggregated, Event, Onward
from fedtier.core.figures import Figures
from fedtier.core.root import Course
from fedtier.errors import EXIT_DONE, EXIT_UNTRAINED, ConfigError, TrainingError
from fedtier.ids import FederationId
from fedtier.limits import LOSS_UNITS_PER_NAT
from fedtier.model.layout import Vector
from fedtier.model.server_step import add
from fedtier.planner.estimates import Estimates, estimates_json
from fedtier.runtime.host import Host
from fedtier.runtime.mean import mean_gradient, next_model
from fedtier.storage.durable import write_durably
from fedtier.storage.snapshots import Snapshot, Snapshots
from fedtier.storage.spool import Spool as SpoolFiles
from fedtier.topology import Topology
from fedtier.wire.fields import to_json
from fedtier.wire.head import Head
from fedtier.wire.manifest import decode_model
from fedtier.wire.plan import Plan

log = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"


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
        host: Host,
        topology: Topology,
        part_bytes: int,
        steering: Steering | None = None,
    ) -> None:
        """Prepare.

        Args:
            federation: Whose run this is.
            course: The run, and how far it has come.
            artefact: What the devices train with.
            evaluator: Scores each round's model on held-out data; None where there are none.
            places: Directories.
            host: Where it runs; sums and evaluates when there is time.
            topology: The federation's tree.
            part_bytes: The largest message.
            steering: What changes the plan as the run goes on; None: nothing does.
        """
        self._steering = steering
        self._federation = federation
        self._course = course
        self._artefact = artefact
        self._evaluator = evaluator
        self._run_dir = places.run_dir
        self._host = host
        self._topology = topology
        self._part_bytes = part_bytes
        self._usage = NodeUsage(topology)
        self._refusals: dict[str, int] = {}  # of the newest models, as the log has them
        self._spool = SpoolFiles(places.state_dir / "spool")
        self._snapshots = Snapshots(places.state_dir)
        self._pilot = PilotLog(places.state_dir, course.run)
        self.exit_code: int | None = None  # of the finished run; None while it is not
        self._began_s = host.now_s()
        self._metrics = RoundLines(places.run_dir / METRICS_FILE, of="round")
        self._metrics.drop(course.next_round)
        self._seconds_before = self._metrics.seconds
        if steering is not None:  # which may know of a gradient that came after the last round
            self._seconds_before = max(self._seconds_before, steering.seconds)

    def begin(self) -> None:
        """Make a run durable before anybody hears of it; one that goes on is durable already.

        Raises:
            StorageError: If the disk does not take it.
        """
        course = self._course
        if course.next_round == 0:
            progress = {"rounds_done": 0, "rounds_trained": 0}
            self._snapshot(course.model, course.blob, **progress, finished=False)

    def perform(self, effect: Effect) -> None:
        """Do one effect; long work is given to the host."""
        match effect:
            case Spool():
                self._spool.put(effect.run, effect.path, effect.child, effect.blob)
                self._usage.hear(effect.child, effect.blob)
            case Aggregate(head=Head(task="gradient")):
                self._host.work(lambda: self._measure(effect))
            case Aggregate():
                self._host.work(lambda: self._aggregate(effect))
            case Finish():
                self._host.work(lambda: self._finish(effect))
            case _:
                raise AssertionError(f"not the cloud's effect: {effect}")

    def _aggregate(self, aggregate: Aggregate) -> Event:
        before, _, _ = decode_model(aggregate.model)
        new = next_model(before, self._spool, aggregate, step=add)
        measured = aggregate.head.path.round < self._plan.pilot
        if measured:
            self._pilot.add_round(aggregate)
        row = self._row(aggregate, new.vector, new.model)
        self._metrics.add(row)  # first: a line of a round that is not durable is taken out again
        if measured:
            self._pilot.save()
        onward = self._steer(aggregate, row)
        progress = {"rounds_done": aggregate.done, "rounds_trained": aggregate.trained}
        self._snapshot(new.model, new.blob, **progress, finished=False, rms=aggregate.rms)
        log.info("round closed", extra=_shown(aggregate, row))
        self._warn_of_refusals(row["rollout"])
        self._spool.drop(aggregate.head.run, aggregate.head.path)
        self._spool.clear_but(aggregate.head.run)
        return Aggregated(job=aggregate.job, model=new.model, blob=new.blob, onward=onward)

    def _steer(self, aggregate: Aggregate, row: Mapping[str, Any]) -> Onward | None:
        """How the run goes on, made durable before the round's model is."""
        if self._steering is None:
            return None
        is_first_of_pilot = aggregate.head.path.round == 0 and self._plan.pilot
        finding = finding_of_round(aggregate) if is_first_of_pilot else None
        return self._steering.after_round(
            aggregate.done,
            None if aggregate.resumed else aggregate.figures.spans,
            seconds=row["seconds"],
            by_times=self._by_times(finding, loss=row["training_loss"]),
        )

    def _by_times(self, finding: Findings | None, *, loss: float | None) -> Estimates | None:
        """What a round told of times, if it did."""
        if finding is None or finding.seconds is None or loss is None:
            return None
        if not finding.measured.steps.devices:
            return None
        return estimates_by_times(
            finding, self._course.plan, self._topology,
            dimension=self._artefact.layout.dimension, part_bytes=self._part_bytes,
            loss=loss, least=self._artefact.manifest.least_loss,
        )  # fmt: skip

    def _measure(self, measure: Aggregate) -> Event:
        """Write a gradient down; after the pilot's last, the estimates first."""
        model, digest, _ = decode_model(measure.model)
        head = measure.head
        found = mean_gradient(self._spool, measure) if measure.came else None
        parameters = self._artefact.manifest.parameters
        self._pilot.add_gradient(measure, found, model=model, parameters=parameters)
        onward = self._estimate() if self._is_last(head) else None
        self._pilot.save()
        fields = {"path": str(head.path), "members": len(measure.came)}
        log.info("gradient measured", extra=fields | {"seconds": round(measure.seconds, 2)})
        self._spool.drop(head.run, head.path)
        return Aggregated(job=measure.job, model=digest, blob=measure.model, onward=onward)

    def _is_last(self, head: Head) -> bool:
        """Whether a gradient is the last of the pilot."""
        if self._steering is None:
            return head.path.round == head.plan.pilot
        return self._steering.is_pilot_over(head.path.round, seconds=self._seconds())

    def _estimate(self) -> Onward | None:
        """Write ``estimates.json`` into the run directory, and plan the run where that is asked."""
        try:
            estimates = estimates_of(
                self._pilot.findings,
                self._course.plan,
                self._topology,
                dimension=self._artefact.layout.dimension,
                part_bytes=self._part_bytes,
                least=self._artefact.manifest.least_loss,
            )
        except ConfigError as error:  # the run goes on: nothing hangs on it yet
            log.warning("not estimated", extra={"reason": str(error)})
            by_times = self._by_times_of_pilot()
            how = "" if by_times is None else " Planned by times alone."
            return self._plan_first(by_times, reason=f"{error}{how}")
        path = self._run_dir / ESTIMATES_FILE
        write_durably(path, estimates_json(estimates).encode())
        log.info("pilot finished", extra={"estimates": str(path)})
        return self._plan_first(estimates)

    def _by_times_of_pilot(self) -> Estimates | None:
        """By the first of its rounds that told any."""
        losses = {row["round"]: row["training_loss"] for row in self._metrics.rows}
        rounds = [found for found in self._pilot.findings if found.task == "train"]
        told = (self._by_times(found, loss=losses.get(found.round)) for found in rounds)
        return next((each for each in told if each is not None), None)

    def _plan_first(self, estimates: Estimates | None, *, reason: str = "") -> Onward | None:
        if self._steering is None:
            return None
        return self._steering.first(estimates, seconds=self._seconds(), reason=reason)

    @property
    def _plan(self) -> Plan:
        """By which the run goes on now."""
        return self._course.plan if self._steering is None else self._steering.plan

    def _snapshot(
        self,
        model: str,
        blob: bytes,
        *,
        rounds_done: int,
        rounds_trained: int,
        finished: bool,
        rms: float = 0.0,
    ) -> None:
        course = self._course
        self._snapshots.write(
            Snapshot(
                run=course.run,
                epoch=course.epoch,
                rounds_done=rounds_done,
                rounds_trained=rounds_trained,
                finished=finished,
                plan=to_json(course.plan.to_json()).decode(),
                artefact=course.artefact,
                model=model,
                blob=blob,
                rms=rms,
            )
        )

    def _row(self, aggregate: Aggregate, model: Vector, digest: str) -> dict[str, Any]:
        held_out = self._score(model)
        worst = held_out.worst if held_out else None
        figures = aggregate.figures
        steps, nats = figures.trained_steps, figures.trained_loss_units / LOSS_UNITS_PER_NAT
        return {
            "round": aggregate.done - 1,
            "seconds": round(self._seconds(), 3),
            "members": len(aggregate.came),
            "reasons": reason_rows(aggregate.reasons),
            "accuracy": held_out.total.accuracy if held_out else None,
            "loss": held_out.total.loss if held_out else None,
            "accuracy_held_out_worst": worst[1] if worst else None,
            "training_loss": nats / steps if steps else None,
            "links": link_rows(self._plan, figures),
            "rollout": rollout_rows(figures.rollout),
            "model_digest": digest,
        }

    def _finish(self, finish: Finish) -> Event | None:
        snapshot = self._snapshots.read()
        blob = self._course.blob if snapshot is None else snapshot.blob
        model, digest, _ = decode_model(blob)
        own = self._host.usage()
        figures = finish.figures + Figures(tiers={self._course.plan.tiers: own})
        result = RunResult(
            federation=self._federation,
            run=self._course.run,
            plan=self._plan,
            devices=len(self._topology.devices()),
            rounds_trained=finish.rounds_trained,
            seconds=self._seconds(),
            clock=self._host.clock,
            held_out=self._score(model),
            figures=figures,
            links=link_rows(self._plan, figures),
            nodes=self._usage.rows(own),
            model=model,
            model_digest=digest,
            artefact=self._artefact,
            rounds=self._metrics.rows,
            plans=[] if self._steering is None else self._steering.decisions,
        )
        write_run_directory(self._run_dir, result)
        progress = {"rounds_done": result.plan.rounds, "rounds_trained": result.rounds_trained}
        self._snapshot(digest, blob, **progress, finished=True)
        self._warn_of_refusals(rollout_rows(figures.rollout))
        fields = {"rounds": result.plan.rounds, "seconds": round(result.seconds, 2)}
        report = str(self._run_dir / "report.json")
        log.info("run finished", extra=fields | {"model": digest[:12], "report": report})
        if not result.rounds_trained:
            why = "; ".join(f"{row['node']}: {row['reason']}" for row in result.reasons)
            shown = {"rounds": result.plan.rounds, "model": "initial", "reasons": why or "unknown"}
            log.warning("nobody trained", extra=shown)
        self.exit_code = EXIT_DONE if result.rounds_trained else EXIT_UNTRAINED
        self._host.stop()
        return None

    def _score(self, model: Vector) -> HeldOutScore | None:
        if self._evaluator is None:
            return None
        try:
            return self._evaluator.score(model)
        except TrainingError as error:  # the run goes on, and ends with a report that says so
            log.warning("not evaluated", extra={"reason": str(error)})
            return None

    def _warn_of_refusals(self, rollout: Sequence[Mapping[str, Any]]) -> None:
        """Say that devices do not serve a model that they found worse, as their number grows."""
        for version in rollout:
            if version["refused"] > self._refusals.get(version["model"], 0):
                log.warning("model refused by devices", extra=dict(version))
        self._refusals = {version["model"]: version["refused"] for version in rollout}

    def _seconds(self) -> float:
        """Seconds of this run, those before a restart included."""
        return self._seconds_before + self._host.now_s() - self._began_s


def _shown(aggregate: Aggregate, row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a round's row people read in the log."""
    figures = {name: row[name] for name in ("accuracy", "loss", "training_loss")}
    return {
        "path": str(aggregate.head.path), "members": row["members"],
        "seconds": round(aggregate.seconds, 2),
        **{name: round(value, 4) for name, value in figures.items() if value is not None},
    }  # fmt: skip
