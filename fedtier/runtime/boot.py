"""One boot of a node: what every role does before and around the machine that is its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedtier import __version__
from fedtier.config.node_file import NodeFile, load_node_file
from fedtier.core.effects import Side
from fedtier.ids import BootNonce
from fedtier.limits import CONNECT_GIVE_UP_S
from fedtier.runtime import logs
from fedtier.runtime.assembly import (
    connection_down,
    connection_up,
    farewells,
    fresh_nonce,
    step_back,
)
from fedtier.runtime.driver import Connection, Driver, Machine
from fedtier.runtime.mailbox import Mailbox
from fedtier.storage.lock import held

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """What a role puts its machine into."""

    file: NodeFile
    state_dir: Path  # this process's alone
    nonce: BootNonce
    mailbox: Mailbox
    stack: ExitStack  # undone when the node has ended

    def driver(self, machine: Machine) -> Driver:
        """The loop for a machine, connected as the file says; starts the node's own broker first.

        Raises:
            ConfigError: If a URL or a credential cannot be used, or the broker's port is taken.
            LinkError: If the broker does not answer in time.
        """
        file = self.file
        if file.cell is not None:
            from fedtier.broker.own import own_broker  # 3 MiB that a device need not have

            own_broker(file, self.stack, self.mailbox.end)
        connections: dict[Side, Connection] = {}
        if file.parent is not None:
            connections["up"] = connection_up(file, self.mailbox, self.nonce)
        if file.cell is not None:
            connections["down"] = connection_down(
                file, self.mailbox, self.nonce, give_up_s=CONNECT_GIVE_UP_S
            )
        return Driver(
            federation=file.federation,
            machine=machine,
            mailbox=self.mailbox,
            connections=connections,
        )

    def farewells(self) -> Mapping[Side, tuple[str, bytes]]:
        """What to say last on each side when leaving in order."""
        return farewells(self.file, self.nonce)


@contextmanager
def booted(config: Path, *, role: str, debug: bool = False) -> Iterator[Boot]:
    """Begin a boot: logs, node file, priority, and a state directory that no other process has.

    Args:
        config: The node file.
        role: The program that reads it; another role in the file is refused.
        debug: Whether the log says what is ignored, too.

    Raises:
        ConfigError: If the file cannot be, or another process has the state directory.
        StorageError: If that directory cannot be made or written.
    """
    logs.set_up(debug=debug)
    file = load_node_file(config, role=role)
    step_back(file.board.nice)
    state_dir = Path(file.node.state_dir)
    with held(state_dir), ExitStack() as stack:
        log.info(
            "started",
            extra={
                "node": file.id, "role": role, "federation": file.federation,
                "version": __version__, "pid": os.getpid(), "state_dir": str(state_dir),
            },
        )  # fmt: skip
        yield Boot(
            file=file, state_dir=state_dir, nonce=fresh_nonce(), mailbox=Mailbox(), stack=stack
        )
