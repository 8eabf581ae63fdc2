"""``fedtier gateway run``: put a gateway together and run it until it is stopped."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from fedtier import __version__
from fedtier.broker.own import own_broker
from fedtier.config.node_file import load_node_file
from fedtier.core.aggregator import TierAggregator
from fedtier.limits import CONNECT_GIVE_UP_S
from fedtier.runtime import logs
from fedtier.runtime.assembly import (
    connection_down,
    connection_up,
    farewells,
    fresh_nonce,
    step_back,
)
from fedtier.runtime.driver import Driver
from fedtier.runtime.mailbox import Mailbox
from fedtier.runtime.usage import LinkMeter
from fedtier.storage.cell_state import CellState
from fedtier.storage.spool import Spool
from gateway.performer import Performer


def main(config: Path) -> int:
    """Run one gateway in the foreground.

    Args:
        config: Its node file.

    Returns:
        The process's exit code.

    Raises:
        FedtierError: What the operator must know; the command line prints it.
    """
    logs.set_up()
    file = load_node_file(config, role="gateway")
    step_back(file.board.nice)
    state_dir = Path(file.node.state_dir)
    state = CellState(state_dir)
    nonce = fresh_nonce()
    mailbox = Mailbox()
    machine = TierAggregator(
        node=file.id,
        tier=file.node.tier,
        members=file.members,
        members_min=file.members_min,
        part_bytes=file.node.part_bytes,
        nonce=nonce,
        version=__version__,
        announced=state.announced(),
        resume=state.resume(),
        spooled=Spool(state_dir / "spool").found(),
    )
    with ExitStack() as stack:
        own_broker(file, stack, mailbox.end)
        up = connection_up(file, mailbox, nonce)
        down = connection_down(file, mailbox, nonce, give_up_s=CONNECT_GIVE_UP_S)
        driver = Driver(
            federation=file.federation,
            machine=machine,
            mailbox=mailbox,
            connections={"up": up, "down": down},
        )
        performer = Performer(
            node=file.id,
            tier=file.node.tier,
            state_dir=state_dir,
            driver=driver,
            meter=LinkMeter(up.transport),
            micros=lambda: machine.link.micros,
        )
        return driver.run(performer.perform, farewells(file, nonce))
