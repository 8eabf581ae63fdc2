"""``fedtier gateway run``: put a gateway together and run it until it is stopped."""

from __future__ import annotations

from pathlib import Path

from fedtier import __version__
from fedtier.core.aggregator import TierAggregator
from fedtier.runtime.boot import Boot, booted
from fedtier.runtime.host import Assembled
from fedtier.runtime.usage import LinkMeter
from fedtier.storage.artefact_store import ArtefactStore
from fedtier.storage.cell_state import CellState
from fedtier.storage.spool import Spool
from gateway.performer import Performer


def main(config: Path, *, debug: bool = False) -> int:
    """Run one gateway in the foreground.

    Args:
        config: Its node file.
        debug: Whether the log says what is ignored, too.

    Returns:
        The process's exit code.

    Raises:
        FedtierError: What the operator must know; the command line prints it.
    """
    with booted(config, role="gateway", debug=debug) as boot:
        return boot.run(assemble(boot))


def assemble(boot: Boot) -> Assembled:
    """Put a gateway together.

    Raises:
        FedtierError: As ``main``.
    """
    file = boot.file
    state, artefacts = CellState(boot.state_dir), ArtefactStore(boot.state_dir)
    machine = TierAggregator(
        node=file.id,
        parent=file.parent_id,
        tier=file.node.tier,
        members=file.members,
        members_min=file.members_min,
        part_bytes=file.node.part_bytes,
        nonce=boot.nonce,
        version=__version__,
        announced=state.announced(),
        resume=state.resume(),
        spooled=Spool(boot.state_dir / "spool").found(),
        artefact=artefacts.get(),
        saved=artefacts.saved_parts(),
        metered=file.budget is not None,
    )
    host = boot.host(machine)
    performer = Performer(
        node=file.id,
        tier=file.node.tier,
        state_dir=boot.state_dir,
        host=host,
        meter=LinkMeter(host.transport("up")),
        link_times=lambda: machine.link.times,
    )
    return Assembled(host=host, perform=performer.perform)


def simulated(boot: Boot, setting: object) -> Assembled:
    """Put a gateway together in the simulator: as anywhere."""
    del setting
    return assemble(boot)
