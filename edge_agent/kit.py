"""What a device trains with: an artefact, opened, and this device's data prepared as it asks."""

from __future__ import annotations

import logging
from dataclasses import dataclass

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
from fedtier.config.board import BoardTable
from fedtier.config.node_file import NodeFile
from fedtier.data.examples import DeviceData
from fedtier.data.load import load_device
from fedtier.errors import ConfigError, TrainingError, WireError
from fedtier.storage.artefact_store import ArtefactStore

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kit:
    """One artefact with all that training and evaluating with it takes on this device."""

    artefact: Artefact
    graphs: GraphProcess
    trainers: Trainers  # on these graphs
    evaluate: OpenGraph  # one of them
    data: DeviceData
    weight: int


def make_kit(file: NodeFile, artefact: Artefact, *, where: str) -> Kit:
    """Open an artefact and prepare this device's data for it.

    Args:
        file: The device's node file.
        artefact: What to train with.
        where: The node file's path, for errors.

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
    graphs = _graphs(artefact, file.board)  # last: what is refused before leaves no process behind
    return Kit(
        artefact=artefact,
        graphs=graphs,
        trainers=Trainers(artefact, graphs),
        evaluate=graphs.graph(EVALUATE_FILE),
        data=data,
        weight=weight,
    )


def _graphs(artefact: Artefact, board: BoardTable) -> GraphProcess:
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
    return graphs


def first_kit(file: NodeFile, store: ArtefactStore, *, where: str) -> Kit | None:
    """What a device starts with: the artefact that came last, else the node file's, else none.

    Args:
        file: The device's node file.
        store: Where an earlier boot put what came over the network.
        where: The node file's path, for errors.

    Raises:
        ConfigError: If board, data and artefact do not go together.
        StorageError: If the disk does not give what is stored.
    """
    stored = store.get()
    if stored is not None:
        digest, blob = stored
        try:
            return make_kit(file, decode_artefact(blob, digest=digest), where=where)
        except (ConfigError, WireError) as error:  # it will come again if it is asked for again
            fields = {"artefact": digest[:12], "reason": str(error)}
            log.warning("stored artefact passed over", extra=fields)
    if file.node.artefact is None:
        assert file.data is not None, "an agent's node file describes its data"
        # Read as they are, so that data that are missing are told now and not in the first round.
        load_device(file.data.spec, (), node=file.id, where=f"{where} [data]")
        return None
    return make_kit(file, find_artefact(file.node.artefact), where=where)
