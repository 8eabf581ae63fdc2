"""What a device trains with: an artefact, opened, and this device's data prepared as it asks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge_agent.board_reading import read_board
from edge_agent.budget import check_batch
from edge_agent.conditions import check_shown
from edge_agent.give_back import give_back_heap
from edge_agent.graph_process import GraphProcess
from edge_agent.lowerings import Trainers
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.blob import decode_artefact
from fedtier.artefact.find import find_artefact
from fedtier.artefact.manifest import EVALUATE_FILE, INFER_FILE
from fedtier.artefact.open_graph import OpenGraph
from fedtier.artefact.prepared_data import prepare_device
from fedtier.artefact.trainer import Trainer
from fedtier.config.board import BoardTable
from fedtier.config.node_file import NodeFile
from fedtier.data.examples import DeviceData
from fedtier.data.load import load_recordings
from fedtier.errors import ConfigError, TrainingError, WireError
from fedtier.model.layout import Vector
from fedtier.storage.artefact_store import ArtefactStore

log = logging.getLogger(__name__)


class Graphs(Protocol):
    """Where an artefact's graphs are run."""

    def usage(self) -> tuple[int, int]:
        """The peak memory in KiB and the processor time in ms of what runs them, if not we."""
        ...

    def end(self) -> None:
        """Give their memory back, until they are used again."""
        ...


class TrainerChoice(Protocol):
    """The trainers of an artefact, one for each lowering."""

    def trainer(
        self, asked: str, model: Vector, *, cancelled: Callable[[], bool]
    ) -> Trainer | None:
        """As ``edge_agent.lowerings.Trainers.trainer``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """An artefact whose graphs can be run."""

    graphs: Graphs
    trainers: TrainerChoice  # on these graphs
    evaluate: OpenGraph  # one of them


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kit:
    """One artefact with all that training and evaluating with it takes on this device."""

    artefact: Artefact
    opened: Opened
    data: DeviceData
    weight: int


class Equip(Protocol):
    """Makes a kit: ``make_kit``, or what does as much in the simulator."""

    def __call__(self, file: NodeFile, artefact: Artefact, *, where: str) -> Kit:
        """See ``make_kit``."""
        ...


def make_kit(
    file: NodeFile,
    artefact: Artefact,
    *,
    where: str,
    opening: Callable[[Artefact, BoardTable], Opened] | None = None,
) -> Kit:
    """Open an artefact and prepare this device's data for it.

    Args:
        file: The device's node file.
        artefact: What to train with.
        where: The node file's path, for errors.
        opening: How its graphs are opened; None: in a process of their own.

    Raises:
        ConfigError: If board, data and artefact do not go together.
    """
    section, data_section = file.node, file.data
    assert data_section is not None, "an agent's node file describes its data"
    check_batch(file.board, artefact, where=where)
    check_shown(file.board, read_board(), where=where)
    where = f"{where} [data]"
    data = prepare_device(data_section.spec, artefact.manifest, node=file.id, where=where)
    weight = len(data.train) if section.weight == "examples" else section.weight
    classes = {}
    if artefact.manifest.loss.of_classes:
        classes["classes"] = len(set(data.train.y.tolist()))
    log.info(
        "data loaded",
        extra={
            "examples": len(data.train), **classes, "holdout": len(data.holdout),
            "weight": weight, "digest": data.digest[:12],
        },
    )  # fmt: skip
    if data.untrained:
        log.warning(
            "classes not trained",
            extra={
                "classes": ", ".join(artefact.manifest.class_name(c) for c in data.untrained),
                "reason": "this device has rows of them, all in the hold-out or in windows that "
                "were dropped: see holdout_percent in docs/data.md",
            },
        )
    give_back_heap()  # preparing data takes more than they do
    # Last: what is refused before leaves no process behind.
    opened = (opening or _opened)(artefact, file.board)
    return Kit(artefact=artefact, opened=opened, data=data, weight=weight)


def _opened(artefact: Artefact, board: BoardTable) -> Opened:
    """The graphs a device runs, each opened once: what onnxruntime refuses is refused at start."""
    names = [n for n in artefact.files if n.endswith(".onnx") and n != INFER_FILE]
    graphs = GraphProcess(
        {name: artefact.files[name] for name in names},
        threads=board.threads,
        keep_s=board.keep_trainer_s,
    )
    try:
        for name in names:
            graphs.slots(name, "inputs")
    except ConfigError:
        graphs.end()
        raise
    except TrainingError as error:  # want of memory, which may pass
        log.warning("graphs not opened", extra={"reason": str(error)})
    return Opened(
        graphs=graphs,
        trainers=Trainers(artefact, graphs),
        evaluate=graphs.graph(EVALUATE_FILE),
    )


def first_kit(file: NodeFile, store: ArtefactStore, equip: Equip, *, where: str) -> Kit | None:
    """What a device starts with: the artefact that came last, else the node file's, else none.

    Args:
        file: The device's node file.
        store: Where an earlier boot put what came over the network.
        equip: Makes it: ``make_kit``.
        where: The node file's path, for errors.

    Raises:
        ConfigError: If board, data and artefact do not go together.
        StorageError: If the disk does not give what is stored.
    """
    stored = store.get()
    if stored is not None:
        digest, blob = stored
        try:
            return equip(file, decode_artefact(blob, digest=digest), where=where)
        except (ConfigError, WireError) as error:  # it will come again if it is asked for again
            fields = {"artefact": digest[:12], "reason": str(error)}
            log.warning("stored artefact passed over", extra=fields)
    if file.node.artefact is None:
        assert file.data is not None, "an agent's node file describes its data"
        # Read as they are, so that data that are missing are told now and not in the first round.
        load_recordings(file.data.spec, node=file.id, where=f"{where} [data]")
        return None
    return equip(file, find_artefact(file.node.artefact), where=where)
