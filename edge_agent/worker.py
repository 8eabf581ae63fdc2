"""Does a device's jobs: train, evaluate or measure, store the answer, report it to the machine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.board_reading import Reading
from edge_agent.budget import needed_mib
from edge_agent.carry import carried_velocity, kept_end, to_carry
from edge_agent.conditions import Hindrance, hindrance
from edge_agent.kit import Kit
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.blob import decode_artefact
from fedtier.artefact.evaluate import score
from fedtier.artefact.schedule import Schedule
from fedtier.artefact.trainer import GradientTask, Trained, TrainTask
from fedtier.config.board import BoardTable
from fedtier.core.child import LinkTimes
from fedtier.core.effects import Effect, Install, Keep, Preempt, SavePart, Work
from fedtier.core.events import Event, Hindered, Installed, WorkDone, WorkFailed
from fedtier.core.figures import Figures, Scores
from fedtier.core.measured import GradientFigures, Measured, StepTimes
from fedtier.core.rollout import Rollout
from fedtier.errors import ConfigError, TrainingError, WireError
from fedtier.ids import NodeId
from fedtier.limits import LOSS_UNITS_PER_NAT
from fedtier.model.layout import Vector
from fedtier.quantize.norm import sum_of_squares
from fedtier.runtime.host import Host
from fedtier.runtime.updates import delta_update, figures_update, gradient_update
from fedtier.runtime.usage import LinkMeter
from fedtier.storage.artefact_store import ArtefactStore
from fedtier.storage.durable import write_durably
from fedtier.storage.outbox import Carried, Outbox
from fedtier.wire.head import Head
from fedtier.wire.manifest import decode_model

if TYPE_CHECKING:
    from edge_agent.inference.inference import Inference

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Who this device is, and how it equips itself."""

    node: NodeId
    equip: Callable[[Artefact], Kit]  # ConfigError where artefact, board and data do not fit
    store: ArtefactStore
    state_dir: Path
    board: BoardTable
    read_board: Callable[[], Reading]  # what the board says of itself right now
    inference: Inference | None = None  # what it serves; None where it serves nothing


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
        self,
        device: Device,
        kit: Kit | None,
        *,
        host: Host,
        meter: LinkMeter,
        link_times: Callable[[], LinkTimes],
    ) -> None:
        """Prepare.

        Args:
            device: Who it is, and how it equips itself.
            kit: Artefact, trainer and data to begin with; None until an artefact comes.
            host: Where it runs; trains when there is time.
            meter: The bytes of the link to the parent.
            link_times: How long things took on the link to its parent.
        """
        self._device = device
        self._kit = kit
        self._host = host
        self._meter = meter
        self._link_times = link_times
        self._outbox = Outbox(device.state_dir, journal=device.board.journal)
        self._cancel = threading.Event()
        self._waiting = False  # for the board's conditions, as the log has said

    def perform(self, effect: Effect) -> None:
        """Do one effect; long work is given to the host."""
        match effect:
            case SavePart():
                if self._device.board.journal == "disk":
                    self._device.store.save_part(effect.part, afresh=effect.afresh)
            case Install():
                self._host.work(lambda: self._install(effect))
            case Work():
                self._cancel = threading.Event()
                cancel = self._cancel
                self._host.work(lambda: self._do(effect, cancel))
            case Preempt():
                self._cancel.set()
            case Keep():
                write_durably(self._device.state_dir / "model.blob", effect.model)
                log.info("run finished", extra={"model": effect.head.model[:12]})
                self._host.work(lambda: self._rest(effect))  # on the thread that uses the graphs
            case _:
                raise AssertionError(f"not a device's effect: {effect}")

    def end(self) -> None:
        """Give back the memory of the graphs, until they are used again."""
        if self._kit is not None:
            self._kit.opened.graphs.end()

    def _rest(self, keep: Keep) -> None:
        """Serve the last model, where it was not judged before, and train no more."""
        model, _, _ = decode_model(keep.model)
        self._consider(keep.head, model, self._host.ending)
        self.end()

    def _consider(self, head: Head, model: Vector, cancelled: Callable[[], bool]) -> None:
        """Judge a global model and serve it, whatever the board's conditions for training."""
        inference, kit = self._device.inference, self._kit
        if inference is not None and kit is not None and kit.artefact.digest == head.artefact:
            inference.consider(head, model, kit, cancelled=cancelled)

    def _install(self, install: Install) -> Event:
        """Use an artefact from now on, if it suits the board and the data."""
        self.end()  # never two artefacts' graphs in memory
        try:
            artefact = decode_artefact(install.blob, digest=install.artefact)
            kit = self._device.equip(artefact)
        except (ConfigError, WireError) as error:
            return Installed(artefact=install.artefact, reason=str(error))
        self._device.store.put(install.artefact, install.blob)
        self._kit = kit
        layout = artefact.layout
        return Installed(
            artefact=install.artefact, layout=layout.digest, dimension=layout.dimension,
            weight=kit.weight,
        )  # fmt: skip

    def _do(self, work: Work, cancel: threading.Event) -> Event | None:
        stored = self._outbox.get(work.job)
        if stored is not None:
            kept = {"path": str(work.job.path), "bytes": len(stored)}
            log.info("answer found in outbox", extra=kept)
            return WorkDone(job=work.job, blob=stored)
        model, _, _ = decode_model(work.model)
        kit = self._kit
        assert kit is not None, "the machine gives no work before there is an artefact"
        if kit.artefact.digest != work.head.artefact:  # another was installed in between
            digest = kit.artefact.digest
            asked = f"artefact {work.head.artefact[:12]} is asked for: {digest[:12]} is here"
            return self._failed(work, asked)

        def cancelled() -> bool:
            return cancel.is_set() or self._host.ending()

        self._consider(work.head, model, cancelled)
        hindered = self._hindered(kit, work)
        if hindered is not None:
            return hindered
        began_s = self._host.now_s()
        try:
            answer = self._answered(kit, work.head, model, cancelled)
        except TrainingError as error:
            return self._failed(work, str(error))
        if answer is None or cancel.is_set():
            return None
        written = self._outbox.bytes_written
        self._outbox.put(work.job, answer.blob, carried=answer.carried)
        cost = {
            "seconds": round(self._host.now_s() - began_s, 2),
            "bytes": len(answer.blob),
            "disk_bytes": self._outbox.bytes_written - written,
        }
        path = {"path": str(work.job.path)}
        log.info(answer.event, extra=path | dict(answer.shown) | cost)
        return WorkDone(job=work.job, blob=answer.blob)

    def _answered(
        self, kit: Kit, head: Head, model: Vector, cancelled: Callable[[], bool]
    ) -> _Answer | None:
        """Do what a head asks; None where it was cancelled."""
        if head.task == "evaluate":
            return self._evaluated(kit, head, model)
        if head.task == "gradient":
            return self._gradient(kit, head, model, cancelled)
        velocity = carried_velocity(self._outbox, head)
        began_s = self._host.now_s()
        trained = self._train(kit, head, model, velocity, cancelled)
        if trained is None:
            return None
        seconds = self._host.now_s() - began_s
        return self._trained(head, model, trained, rested=velocity is None, seconds=seconds)

    def _hindered(self, kit: Kit, work: Work) -> Hindered | None:
        """Look at the board; None where it allows the work."""
        needed = needed_mib(kit.artefact)
        found = hindrance(self._device.board, self._device.read_board(), needed_mib=needed)
        self._say(found, path=str(work.job.path))
        if found is None:
            return None
        kit.opened.graphs.end()  # what hinders may be the memory it holds
        return Hindered(
            job=work.job,
            reason=found.reason,
            lasting=found.lasting,
            figures=self._figures(work.head),
        )

    def _say(self, found: Hindrance | None, *, path: str) -> None:
        """A line when waiting begins, and one when it is over, however many rounds that is."""
        waits = found is not None and not found.lasting
        if found is not None and waits and not self._waiting:
            log.info("waiting for the board", extra={"path": path, "reason": found.reason})
        if found is None and self._waiting:
            log.info("the board allows work", extra={"path": path})
        self._waiting = waits

    def _train(
        self,
        kit: Kit,
        head: Head,
        model: Vector,
        velocity: Vector | None,
        cancelled: Callable[[], bool],
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
        trainer = kit.opened.trainers.trainer(head.plan.lowering, model, cancelled=cancelled)
        if trainer is None:
            return None
        return trainer.train(task, kit.data.train, cancelled=cancelled)

    def _trained(
        self, head: Head, model: Vector, trained: Trained, *, rested: bool, seconds: float
    ) -> _Answer:
        figures = self._figures(head)
        if head.path.round < head.plan.pilot:
            steps = StepTimes.of_device(self._device.node, seconds=seconds / trained.steps)
            figures += Figures(measured=Measured(steps=steps))
        figures += Figures(
            trained_steps=trained.steps,
            trained_loss_units=round(trained.loss_sum * LOSS_UNITS_PER_NAT),
        ).with_span(0, seconds)
        blob = delta_update(
            self._device.node,
            head,
            start=model,
            end=trained.model,
            weight=self._admitted(head),
            figures=figures,
        )
        shown: dict[str, object] = {
            "steps": trained.steps,
            "training_loss": round(trained.loss_sum / trained.steps, 4),
        }
        carried = to_carry(head, trained)
        if carried is not None and carried.what == "velocity":
            shown["momentum"] = "zero" if rested else "carried"
        return _Answer(event="trained", blob=blob, shown=shown, carried=carried)

    def _gradient(
        self, kit: Kit, head: Head, model: Vector, cancelled: Callable[[], bool]
    ) -> _Answer | None:
        """Measure at the cloud's model and, where a pilot had it kept, at this device's own end."""
        end = kept_end(self._outbox, head)
        task = GradientTask(
            models=(model,) if end is None else (model, end),
            seed=head.plan.seed,
            node=self._device.node,
        )
        trainer = kit.opened.trainers.trainer(head.plan.lowering, model, cancelled=cancelled)
        if trainer is None:
            return None
        found = trainer.gradients(task, kit.data.train, cancelled=cancelled)
        if found is None:
            return None
        gradient = found.means[0]
        change = found.means[-1] - gradient
        moved = (model if end is None else end) - model
        measured = GradientFigures.of_device(
            weight=self._admitted(head),
            loss=found.losses[0],
            variance=max(found.variances),
            kept=end is not None,
            moved=sum_of_squares(moved[: kit.artefact.manifest.parameters]),
            changed=sum_of_squares(change),
        )
        blob = gradient_update(
            self._device.node,
            head,
            gradient=gradient,
            change=change,
            weight=measured.weight,
            figures=self._figures(head) + Figures(measured=Measured(gradients=measured)),
        )
        shown: dict[str, object] = {"batches": found.batches, "loss": round(found.losses[0], 4)}
        return _Answer(event="gradient measured", blob=blob, shown=shown)

    def _admitted(self, head: Head) -> int:
        """The weight the parent counts with, whatever the device would weigh by now."""
        member = head.member(self._device.node)
        assert member is not None, "only members are given work"
        return member.weight

    def _evaluated(self, kit: Kit, head: Head, model: Vector) -> _Answer:
        kind = kit.artefact.manifest.loss.kind
        result = score(kit.opened.evaluate, model, kit.data.holdout, kind=kind)
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
        kit, inference = self._kit, self._device.inference
        helpers = [
            *([] if kit is None else [kit.opened.graphs.usage()]),
            *([] if inference is None else [inference.process.usage()]),
        ]
        own = self._host.usage(
            helper_peak_kib=sum(peak_kib for peak_kib, _ in helpers),
            helper_cpu_ms=sum(cpu_ms for _, cpu_ms in helpers),
        )
        rollout = Rollout() if inference is None else inference.rollout(head.run)
        link = self._meter.figures(head, self._link_times())
        return link + Figures(tiers={0: own}, rollout=rollout)
