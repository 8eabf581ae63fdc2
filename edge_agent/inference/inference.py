"""Judge every global model on this device's own hold-out, and serve the newest that is no worse."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.inference.endpoint import endpoint_of, listening
from edge_agent.inference.int8 import quantized
from edge_agent.inference.servable import Servable
from edge_agent.inference.serving_process import Document, ServingProcess
from edge_agent.inference.store import (
    Served,
    read_ledger,
    read_served,
    write_ledger,
    write_served,
)
from edge_agent.inference.verdict import Unjudged, refusal
from edge_agent.kit import Kit
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.evaluate import Score
from fedtier.artefact.manifest import ArtefactManifest
from fedtier.artefact.open_graph import Array
from fedtier.config.board import BoardTable
from fedtier.config.inference import Precision
from fedtier.config.node_file import NodeFile
from fedtier.core.rollout import Rollout, Version
from fedtier.data.examples import DeviceData
from fedtier.errors import ConfigError, TrainingError
from fedtier.extras import need, needs_extra
from fedtier.ids import RunId
from fedtier.limits import PREDICT_WAITING_MAX
from fedtier.model.layout import Vector
from fedtier.wire.head import Head

log = logging.getLogger(__name__)

_DIRECTORY = "inference"


def inference_directory(state_dir: Path) -> Path:
    """Where a device keeps what it serves."""
    return state_dir / _DIRECTORY


@contextmanager
def serving(file: NodeFile, *, where: str) -> Iterator[Inference]:
    """What a device serves while it runs.

    Args:
        file: The device's node file, which asks for it.
        where: Its path, for errors.

    Raises:
        ConfigError: If the endpoint cannot be had, or what is asked for is not installed.
        StorageError: If the disk does not give what is stored.
    """
    assert file.inference is not None, "the node file has the table [inference]"
    if file.inference.precision == "int8":
        with needs_extra("int8"):
            need("onnx")
    endpoint = endpoint_of(file)
    key = f"{where}: [inference] endpoint"
    with listening(endpoint, where=key, waiting=PREDICT_WAITING_MAX) as listener:
        inference = Inference(
            listener,
            directory=inference_directory(Path(file.node.state_dir)),
            board=file.board,
            precision=file.inference.precision,
        )
        log.info("serving", extra={"endpoint": endpoint} | inference.shown())
        try:
            yield inference
        finally:
            inference.end()


class Inference:
    """The verdicts of this device, and the process that serves by them."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        directory: Path,
        board: BoardTable,
        precision: Precision,
    ) -> None:
        """Start to serve what an earlier boot accepted.

        Args:
            listener: Where applications connect.
            directory: Where to keep what is accepted.
            board: Threads, and how much worse a new model may be.
            precision: Of the weights that are served.

        Raises:
            StorageError: If the disk does not give what is stored.
        """
        self._directory = directory
        self._board = board
        self._precision = precision
        self._served = _read(directory)
        self._refused: tuple[str, str] | None = None  # artefact and model refused last
        self._ledger = read_ledger(directory)
        self._cancelled: Callable[[], bool] = lambda: False  # of what is being judged
        self.process = ServingProcess(listener, state_dir=directory, threads=board.threads)

    def shown(self) -> dict[str, Any]:
        """What is served, for the log."""
        if self._served is None:
            return {"model": "none"}
        servable = self._served.servable
        return {"model": servable.model[:12], "round": servable.round}

    def rollout(self, run: RunId) -> Rollout:
        """This device's verdicts on the newest models of a run."""
        return self._ledger.rollout(run)

    def end(self) -> None:
        """Give the answers that are being made, then end."""
        self.process.end()

    def consider(
        self,
        head: Head,
        model: Vector,
        kit: Kit,
        *,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Judge a head's model, once, if it is a global one; serve it if it is no worse.

        Where it cannot be judged there is no verdict, and the next time it comes is another try.

        Args:
            head: Names the model.
            model: The model, shape ``(d,)``.
            kit: Artefact and data that the head is for.
            cancelled: Whether the verdict is wanted no longer; looked at twice a second.

        Raises:
            StorageError: If the disk does not take the verdict.
        """
        if not head.path.opens_round:
            return
        version = Version.of(head)
        verdict = self._ledger.verdict(head.run, version)
        if verdict is False or (verdict and self._served is not None):
            return  # accepted with nothing served: what was kept is damaged, and this mends it
        fields: dict[str, Any] = {"path": str(head.path), "model": version.model}
        self._cancelled = cancelled
        try:
            reason = self._judged(head, model, kit, fields)
        except Unjudged as error:
            level = logging.INFO if cancelled() else logging.WARNING
            log.log(level, "model not judged", extra=fields | {"reason": str(error)})
            return
        accepted = not reason
        self._ledger = self._ledger.with_verdict(head.run, version, accepted=accepted)
        write_ledger(self._directory, self._ledger)
        if accepted:
            log.info("model accepted", extra=fields)
        else:
            self._refused = (head.artefact, head.model)
            log.warning("model refused", extra=fields | {"reason": reason})

    def _judged(self, head: Head, model: Vector, kit: Kit, fields: dict[str, Any]) -> str:
        """Why a model is refused; where it is not, it is served now. Adds to a log's fields."""
        if self._refused == (head.artefact, head.model):
            return "refused before"
        try:
            served = self._in_use()
            if served is not None and self._is_same(served, head, kit):
                return ""  # a round in which nobody came changes nothing
            candidate = self._prepared(Servable.of(head, model, kit.artefact, kit.data))
            score = self._score_of(candidate, kit.data)
            before = None if served is None else self._score_before(served, kit)
        except (TrainingError, ConfigError) as error:
            return str(error)
        fields |= _shown(score, before)
        reason = refusal(score, before, board=self._board)
        if not reason:
            self._serve(Served(servable=candidate, score=score, data=kit.data.digest))
        elif served is not None:
            self._settle(served)  # so that the candidate's memory is given back
        return reason

    def _in_use(self) -> Served | None:
        """The accepted model, if it could be opened and serves."""
        served = self._served
        return served if served is not None and self._choose(served) else None

    def _is_same(self, served: Served, head: Head, kit: Kit) -> bool:
        now = served.servable
        same = (now.run, now.model, now.manifest.digest, now.precision, served.data)
        return same == (
            head.run, head.model, kit.artefact.digest, self._precision, kit.data.digest,
        )  # fmt: skip

    def _prepared(self, servable: Servable) -> Servable:
        if self._precision == "float32":
            return servable
        graph = quantized(servable, self._directory, cancelled=self._cancelled)
        return replace(servable, precision="int8", graph=graph, parameters=b"")

    def _score_of(self, candidate: Servable, data: DeviceData) -> Score:
        document, content = candidate.to_record()
        arrays = {name: np.frombuffer(array, np.uint8) for name, array in content.items()}
        answer = self._ask({"do": "consider", "model": document}, {**arrays, **_examples(data)})
        if "failed" in answer:
            raise TrainingError(answer["failed"])
        return Score(**answer["score"])

    def _score_before(self, served: Served, kit: Kit) -> Score | None:
        """Of the served model, on the hold-out as it is now; None where nothing compares."""
        manifest = served.servable.manifest
        if not _comparable(manifest, kit.artefact):
            return None
        if served.data == kit.data.digest or manifest.digest != kit.artefact.digest:
            return served.score
        answer = self._ask({"do": "score"}, _examples(kit.data))
        return Score(**answer["score"]) if "score" in answer else None

    def _serve(self, served: Served) -> None:
        """Durable first: whatever dies, no older model is served after a newer one."""
        write_served(self._directory, served)
        self._served, self._refused = served, None
        self._settle(served)

    def _settle(self, served: Served) -> None:
        """Have an accepted model served, now or as soon as the process can."""
        try:
            self._choose(served)
        except Unjudged as error:  # the next question begins so; another process with what is kept
            log.warning("not served yet", extra={"reason": str(error)})

    def _choose(self, served: Served) -> bool:
        """Serve a model that the process has open, and drop any other; whether it does now."""
        question = {"do": "serve", "version": served.servable.version}
        return bool(self._ask(question, {})["served"])

    def _ask(self, document: Document, arrays: Mapping[str, Array]) -> Document:
        answer = self.process.ask(document, arrays, cancelled=self._cancelled)
        if "unjudged" in answer:
            raise Unjudged(answer["unjudged"])
        return answer


def _read(directory: Path) -> Served | None:
    try:
        return read_served(directory)
    except ConfigError as error:
        log.warning("stored model passed over", extra={"reason": str(error)})
        return None


def _examples(data: DeviceData) -> dict[str, Array]:
    return {"x": data.holdout.x, "y": data.holdout.y}


def _comparable(served: ArtefactManifest, artefact: Artefact) -> bool:
    """Whether scores of models of two artefacts measure the same."""
    new = artefact.manifest
    return (served.loss.kind, served.labels, served.target_shape) == (
        new.loss.kind, new.labels, new.target_shape,
    )  # fmt: skip


def _shown(score: Score, before: Score | None) -> dict[str, float]:
    fields: dict[str, float] = {}
    for name, found in (("", score), ("served_", before)):
        if found is None or not found.examples:
            continue
        if found.accuracy is not None:
            fields[f"{name}accuracy"] = round(found.accuracy, 4)
        else:
            fields[f"{name}loss"] = round(found.loss, 4)
    return fields
