"""``fedtier agent run``: put a device together and run it until it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.board_reading import Reading, read_board
from edge_agent.kit import Equip, Kit, first_kit, make_kit
from edge_agent.worker import Device, Worker
from fedtier import __version__
from fedtier.config.node_file import NodeFile
from fedtier.core.device import DeviceMachine, Trainee
from fedtier.runtime.boot import Boot, booted
from fedtier.runtime.host import Assembled
from fedtier.runtime.usage import LinkMeter
from fedtier.storage.artefact_store import ArtefactStore
from fedtier.wire.messages import Presence

if TYPE_CHECKING:
    from edge_agent.inference.inference import Inference


def main(config: Path, *, debug: bool = False, equip: Equip = make_kit) -> int:
    """Run one device in the foreground.

    Args:
        config: Its node file.
        debug: Whether the log says what is ignored, too.
        equip: Opens an artefact and prepares the device's data for it.

    Returns:
        The process's exit code.

    Raises:
        FedtierError: What the operator must know; the command line prints it.
    """
    with booted(config, role="agent", debug=debug) as boot:
        where = str(config)
        kit = first_kit(boot.file, ArtefactStore(boot.state_dir), equip, where=where)
        inference = _serve(boot, where=where)
        return boot.run(assemble(boot, kit, equip, where=where, inference=inference))


def assemble(
    boot: Boot,
    kit: Kit | None,
    equip: Equip,
    *,
    where: str,
    read_board: Callable[[], Reading] = read_board,
    inference: Inference | None = None,
) -> Assembled:
    """Put a device together.

    Args:
        boot: Its boot.
        kit: What it starts with; None until an artefact comes.
        equip: Opens an artefact that comes, and prepares the device's data for it.
        where: The node file's path, for errors.
        read_board: What the board says of itself.
        inference: What it serves; None where it serves nothing.

    Raises:
        FedtierError: As ``main``.
    """
    file, store = boot.file, ArtefactStore(boot.state_dir)
    machine = DeviceMachine(
        node=file.id,
        parent=file.parent_id,
        part_bytes=file.node.part_bytes,
        presence=Presence(
            status="online", nonce=boot.nonce, ready=True, devices=1, version=__version__,
            weight=kit.weight if kit is not None else _weight(file),
        ),
        trainee=_trainee(kit),
        saved=store.saved_parts(),
        patience_s=file.board.patience_s,
        metered=file.budget is not None,
    )  # fmt: skip
    host = boot.host(machine)
    worker = Worker(
        Device(
            node=file.id,
            equip=lambda artefact: equip(file, artefact, where=where),
            store=store,
            state_dir=boot.state_dir,
            board=file.board,
            read_board=read_board,
            inference=inference,
        ),
        kit,
        host=host,
        meter=LinkMeter(host.transport("up")),
        link_times=lambda: machine.link.times,
    )
    boot.stack.callback(worker.end)
    return Assembled(host=host, perform=worker.perform)


def _serve(boot: Boot, *, where: str) -> Inference | None:
    """Serve to the application from now on, where the node file asks for it."""
    if boot.file.inference is None:
        return None
    from edge_agent.inference.inference import serving  # what others need not hold in memory

    return boot.stack.enter_context(serving(boot.file, where=where))


def _weight(file: NodeFile) -> int:
    """Of a device that has no artefact yet: a number, as the node file's rules have it."""
    weight = file.node.weight
    assert isinstance(weight, int), "examples are counted with an artefact at hand"
    return weight


def _trainee(kit: Kit | None) -> Trainee:
    if kit is None:
        return Trainee()
    layout = kit.artefact.layout
    return Trainee(artefact=kit.artefact.digest, layout=layout.digest, dimension=layout.dimension)
