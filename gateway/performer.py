"""Does what a gateway's machine asks: spool, sum, make the model durable, answer upwards."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from fedtier.artefact.blob import decode_artefact
from fedtier.core.child import LinkTimes
from fedtier.core.effects import (
    Aggregate,
    Answer,
    Effect,
    Install,
    Keep,
    Preempt,
    Remember,
    SavePart,
    Spool,
)
from fedtier.core.events import Aggregated, Event, Installed, WorkDone, WorkFailed
from fedtier.core.figures import Figures
from fedtier.errors import ConfigError, TrainingError, WireError
from fedtier.ids import NodeId
from fedtier.model.server_step import add
from fedtier.runtime.host import Host
from fedtier.runtime.mean import next_model
from fedtier.runtime.usage import LinkMeter
from fedtier.storage.artefact_store import ArtefactStore
from fedtier.storage.cell_state import CellState
from fedtier.storage.outbox import Outbox
from fedtier.storage.spool import Spool as SpoolFiles
from fedtier.wire.manifest import decode_model
from gateway.answer import answer_update

log = logging.getLogger(__name__)


class Performer:
    """Performs the effects of a gateway's machine that are not messages."""

    def __init__(
        self,
        *,
        node: NodeId,
        tier: int,
        state_dir: Path,
        host: Host,
        meter: LinkMeter,
        link_times: Callable[[], LinkTimes],
    ) -> None:
        """Prepare.

        Args:
            node: The gateway's id.
            tier: Its tier.
            state_dir: Where its spool and durable points are.
            host: Where it runs; sums when there is time.
            meter: The bytes of the link to the parent.
            link_times: How long things took on the link to its parent.
        """
        self._node = node
        self._tier = tier
        self._host = host
        self._meter = meter
        self._link_times = link_times
        self._spool = SpoolFiles(state_dir / "spool")
        self._state = CellState(state_dir)
        self._outbox = Outbox(state_dir)
        self._artefacts = ArtefactStore(state_dir)

    def perform(self, effect: Effect) -> None:
        """Do one effect; long work is given to the host."""
        match effect:
            case Spool():
                self._spool.put(effect.run, effect.path, effect.child, effect.blob)
            case SavePart():
                self._artefacts.save_part(effect.part, afresh=effect.afresh)
            case Install():
                self._host.work(lambda: self._install(effect))
            case Aggregate():
                self._host.work(lambda: self._aggregate(effect))
            case Answer():
                self._host.work(lambda: self._answer(effect))
            case Remember():
                self._state.remember(effect.beneath, effect.members)
            case Keep():  # the model itself lies with the devices and the cloud
                log.info("run finished", extra={"model": effect.head.model[:12]})
            case Preempt():
                pass  # a sum is short
            case _:
                raise AssertionError(f"not a gateway's effect: {effect}")

    def _install(self, install: Install) -> Event:
        """Have an artefact for the cell's children, which verify it once more."""
        try:
            decode_artefact(install.blob, digest=install.artefact)
        except (ConfigError, WireError) as error:
            return Installed(artefact=install.artefact, reason=str(error))
        self._artefacts.put(install.artefact, install.blob)
        return Installed(artefact=install.artefact)

    def _aggregate(self, aggregate: Aggregate) -> Event:
        before, _, _ = decode_model(aggregate.model)
        new = next_model(before, self._spool, aggregate, step=add)
        assert aggregate.above is not None, "a gateway works for its parent"
        self._state.close(
            above=aggregate.above,
            done=aggregate.done,
            trained=aggregate.trained,
            model=new.model,
            blob=new.blob,
            figures=aggregate.figures,
            rms=aggregate.rms,
        )
        self._spool.drop(aggregate.head.run, aggregate.head.path)
        self._spool.clear_but(aggregate.head.run)
        return Aggregated(job=aggregate.job, model=new.model, blob=new.blob)

    def _answer(self, answer: Answer) -> Event:
        stored = self._outbox.get(answer.job)
        if stored is not None:
            return WorkDone(job=answer.job, blob=stored)
        own = self._meter.figures(answer.head, self._link_times())
        figures = answer.figures.then(own)
        figures += Figures(tiers={self._tier: self._host.usage()})
        try:
            blob = answer_update(self._node, answer, self._spool, figures=figures)
        except TrainingError as error:
            return WorkFailed(job=answer.job, reason=str(error), figures=figures)
        self._outbox.put(answer.job, blob)
        if answer.gathered is not None:
            self._spool.drop(answer.gathered.head.run, answer.gathered.head.path)
        return WorkDone(job=answer.job, blob=blob)
