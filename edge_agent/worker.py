"""Does a device's jobs: train or evaluate, store the answer, report it to the machine."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_agent.budget import over_budget
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.evaluate import score
from fedtier.artefact.schedule import Schedule
from fedtier.artefact.trainer import Trained, Trainer, TrainTask
from fedtier.core.effects import Effect, Keep, Preempt, Work
from fedtier.core.events import Event, WorkDone, WorkFailed
from fedtier.core.figures import Figures, Scores
from fedtier.data.examples import DeviceData
from fedtier.errors import TrainingError
from fedtier.ids import NodeId
from fedtier.limits import LOSS_UNITS_PER_NAT
from fedtier.model.layout import Vector
from fedtier.runtime.driver import Driver
from fedtier.runtime.updates import delta_update, figures_update
from fedtier.runtime.usage import LinkMeter, process_figures
from fedtier.storage.durable import write_durably
from fedtier.storage.outbox import Carried, Outbox, Start
from fedtier.wire.head import Head
from fedtier.wire.manifest import decode_model

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a device has to work with."""

    node: NodeId
    weight: int
    artefact: Artefact
    trainer: Trainer
    data: DeviceData
    state_dir: Path
    memory_budget_mib: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """The update that answers a job, and what of it people read in the log."""

    event: str
    blob: bytes
    shown: Mapping[str, object]
    carried: Carried | None = None


class Worker:
    """Performs the effects of a device's machine that are not messages."""

    def __init__(
        self, device: Device, *, driver: Driver, meter: LinkMeter, micros: Callable[[], int]
    ) -> None:
        """Prepare.

        Args:
            device: Data, model and trainer.
            driver: Whose worker thread trains.
            meter: The bytes of the link to the parent.
            micros: Time this device's updates took from offer to `accepted`, in this run.
        """
        self._device = device
        self._driver = driver
        self._meter = meter
        self._micros = micros
        self._outbox = Outbox(device.state_dir)
        self._evaluate = device.artefact.evaluate_session()
        self._cancel = threading.Event()

    def perform(self, effect: Effect) -> None:
        """Do one effect; long work goes to the driver's worker thread."""
        match effect:
            case Work():
                self._cancel = threading.Event()
                cancel = self._cancel
                self._driver.work(lambda: self._do(effect, cancel))
            case Preempt():
                self._cancel.set()
            case Keep():
                write_durably(self._device.state_dir / "model.blob", effect.model)
                log.info("run finished", extra={"model": effect.head.model[:12]})
            case _:
                raise AssertionError(f"not a device's effect: {effect}")

    def _do(self, work: Work, cancel: threading.Event) -> Event | None:
        stored = self._outbox.get(work.job)
        if stored is not None:
            kept = {"path": str(work.job.path), "bytes": len(stored)}
            log.info("answer found in outbox", extra=kept)
            return WorkDone(job=work.job, blob=stored)
        model, _, _ = decode_model(work.model)
        excess = over_budget(self._device.memory_budget_mib)
        if excess is not None:
            return self._failed(work, excess)
        began_s = time.monotonic()
        try:
            if work.head.task == "evaluate":
                answer = self._evaluated(work.head, model)
            else:
                velocity = self._carried(work.head)
                trained = self._train(
                    work.head,
                    model,
                    velocity,
                    lambda: cancel.is_set() or self._driver.cancelled.is_set(),
                )
                if trained is None:
                    return None
                answer = self._trained(work.head, model, trained, rested=velocity is None)
        except TrainingError as error:
            return self._failed(work, str(error))
        if cancel.is_set():
            return None
        self._outbox.put(work.job, answer.blob, carried=answer.carried)
        cost = {"seconds": round(time.monotonic() - began_s, 2), "bytes": len(answer.blob)}
        path = {"path": str(work.job.path)}
        log.info(answer.event, extra=path | dict(answer.shown) | cost)
        return WorkDone(job=work.job, blob=answer.blob)

    def _carried(self, head: Head) -> Vector | None:
        """The velocity to start with; None to start from rest."""
        if head.plan.carry == "none":
            return None
        start = Start(run=head.run, round=head.path.round, step=head.first_step)
        velocity = self._outbox.carried(start)
        return None if velocity is None else np.frombuffer(velocity, "<f4").astype(np.float32)

    def _train(
        self, head: Head, model: Vector, velocity: Vector | None, cancelled: Callable[[], bool]
    ) -> Trained | None:
        tau = head.plan.tau
        task = TrainTask(
            model=model,
            seed=head.plan.seed,
            path=head.path,
            node=self._device.node,
            steps=int(np.prod(tau[: head.tier])),
            first_step=head.first_step,
            round_steps=int(np.prod(tau)),
            schedule=Schedule(
                kind=head.plan.schedule,
                mu=head.plan.mu,
                floor=head.plan.floor,
                factor=head.plan.factor,
                milestones=head.plan.milestones,
                p0=head.p0,
                p1=head.p1,
            ),
            velocity=velocity,
        )
        return self._device.trainer.train(task, self._device.data.train, cancelled=cancelled)

    def _trained(self, head: Head, model: Vector, trained: Trained, *, rested: bool) -> _Answer:
        figures = self._figures(head)
        figures = Figures(
            links=figures.links,
            tiers=figures.tiers,
            trained_steps=trained.steps,
            trained_loss_units=round(trained.loss_sum * LOSS_UNITS_PER_NAT),
        )
        blob = delta_update(
            self._device.node,
            head,
            start=model,
            end=trained.model,
            weight=self._device.weight,
            figures=figures,
        )
        shown: dict[str, object] = {
            "steps": trained.steps,
            "training_loss": round(trained.loss_sum / trained.steps, 4),
        }
        carried = _to_carry(head, trained)
        if carried is not None:
            shown["momentum"] = "zero" if rested else "carried"
        return _Answer(event="trained", blob=blob, shown=shown, carried=carried)

    def _evaluated(self, head: Head, model: Vector) -> _Answer:
        kind = self._device.artefact.manifest.loss.kind
        result = score(self._evaluate, model, self._device.data.holdout, kind=kind)
        scores = Scores.of_device(
            self._device.node,
            examples=result.examples,
            correct=result.correct,
            loss_units=result.loss_units,
            judged=result.judged,
        )
        figures = self._figures(head) + Figures(scores=scores)
        blob = figures_update(self._device.node, head, reason="", figures=figures)
        shown: dict[str, object] = {"examples": result.examples}
        if result.accuracy is not None:
            shown["accuracy"] = round(result.accuracy, 4)
        if result.examples:
            shown["loss"] = round(result.loss, 4)
        return _Answer(event="evaluated", blob=blob, shown=shown)

    def _failed(self, work: Work, reason: str) -> WorkFailed:
        return WorkFailed(job=work.job, reason=reason, figures=self._figures(work.head))

    def _figures(self, head: Head) -> Figures:
        link = self._meter.figures(head.run, micros=self._micros())
        return Figures(links={head.tier: link}, tiers={0: process_figures()})


def _to_carry(head: Head, trained: Trained) -> Carried | None:
    """What the optimiser keeps for the device's next iteration, and where that begins."""
    if head.plan.carry == "none" or trained.velocity is None:
        return None
    round_, step = head.path.round, head.first_step + trained.steps
    if step == math.prod(head.plan.tau):
        round_, step = round_ + 1, 0
    start = Start(run=head.run, round=round_, step=step)
    return Carried(start=start, velocity=trained.velocity.astype("<f4").tobytes())
