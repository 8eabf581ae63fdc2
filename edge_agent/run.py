"""``fedtier agent run``: put a device together and run it until it is stopped."""

from __future__ import annotations

import logging
from pathlib import Path

from edge_agent.budget import check_batch
from edge_agent.trainer_onnx import OnnxTrainer
from edge_agent.worker import Device, Worker
from fedtier import __version__
from fedtier.artefact.find import find_artefact
from fedtier.artefact.inputs import check_examples, check_labels
from fedtier.config.node_file import NodeFile
from fedtier.core.device import DeviceMachine, Trainee
from fedtier.data.load import load_device
from fedtier.runtime.boot import booted
from fedtier.runtime.usage import LinkMeter
from fedtier.wire.messages import Presence

log = logging.getLogger(__name__)


def main(config: Path, *, debug: bool = False) -> int:
    """Run one device in the foreground.

    Args:
        config: Its node file.
        debug: Whether the log says what is ignored, too.

    Returns:
        The process's exit code.

    Raises:
        FedtierError: What the operator must know; the command line prints it.
    """
    with booted(config, role="agent", debug=debug) as boot:
        file = boot.file
        device = _device(file, where=str(config))
        machine = DeviceMachine(
            node=file.id,
            parent=file.parent_id,
            part_bytes=file.node.part_bytes,
            presence=Presence(
                status="online", nonce=boot.nonce, ready=True, weight=device.weight, devices=1,
                version=__version__,
            ),
            trainee=Trainee(
                artefact=device.artefact.digest,
                layout=device.artefact.layout.digest,
                dimension=device.artefact.layout.dimension,
            ),
        )  # fmt: skip
        driver = boot.driver(machine)
        worker = Worker(
            device,
            driver=driver,
            meter=LinkMeter(driver.transport("up")),
            micros=lambda: machine.link.micros,
        )
        return driver.run(worker.perform, boot.farewells())


def _device(file: NodeFile, *, where: str) -> Device:
    section, data_section = file.node, file.data
    assert section.artefact is not None, "an agent's node file names an artefact"
    assert data_section is not None, "an agent's node file describes its data"
    artefact = find_artefact(section.artefact)
    check_batch(file.board, artefact, where=where)
    where = f"{where} [data]"
    check_labels(data_section.spec, artefact.manifest, where=where)
    data = load_device(
        data_section.spec, artefact.manifest.preprocessing, node=file.id, where=where
    )
    for part, examples in (("training part", data.train), ("hold-out", data.holdout)):
        check_examples(examples, artefact.manifest, where=f"{where}: the {part}")
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
    return Device(
        node=file.id,
        weight=weight,
        artefact=artefact,
        trainer=OnnxTrainer(artefact, threads=file.board.threads),
        memory_budget_mib=file.board.memory_budget_mib,
        data=data,
        state_dir=Path(section.state_dir),
    )
