"""One boot of a node: what every role does before and around the machine that is its own."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fedtier import __version__
from fedtier.config.node_file import NodeFile, load_node_file
from fedtier.core.effects import Side
from fedtier.ids import BootNonce
from fedtier.limits import CONNECT_GIVE_UP_S
from fedtier.runtime import logs
from fedtier.runtime.assembly import (
    connection_down,
    connection_up,
    presences,
    step_back,
)
from fedtier.runtime.driver import Driver
from fedtier.runtime.host import Assembled, Host
from fedtier.runtime.loop import Connection, Machine
from fedtier.runtime.mailbox import Mailbox
from fedtier.storage.lock import held

log = logging.getLogger(__name__)


class Boot(Protocol):
    """What a role puts its machine into: a process, or a place in the simulator."""

    @property
    def file(self) -> NodeFile:
        """The node's file."""
        ...

    @property
    def state_dir(self) -> Path:
        """Where it keeps things, it alone."""
        ...

    @property
    def nonce(self) -> BootNonce:
        """64 random bits of this boot."""
        ...

    @property
    def stack(self) -> ExitStack:
        """Undone when the node has ended."""
        ...

    def random64(self) -> int:
        """64 random bits more, for what must never be the same twice."""
        ...

    def host(self, machine: Machine) -> Host:
        """Where the machine will run, connected as the file says.

        Raises:
            ConfigError: If a URL or a credential cannot be used, or the broker's port is taken.
            LinkError: If the broker does not answer in time.
        """
        ...


@dataclass(slots=True, kw_only=True)
class ProcessBoot:
    """A boot in a process of its own."""

    file: NodeFile
    state_dir: Path
    nonce: BootNonce
    mailbox: Mailbox
    stack: ExitStack
    driver: Driver | None = None

    def random64(self) -> int:
        """From the kernel."""
        return secrets.randbits(64)

    def host(self, machine: Machine) -> Driver:
        """The loop for a machine; starts the node's own broker first.

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
        self.driver = Driver(
            federation=file.federation,
            machine=machine,
            mailbox=self.mailbox,
            connections=connections,
        )
        return self.driver

    def run(self, node: Assembled) -> int:
        """Run a node to its end; see ``Driver.run``."""
        assert self.driver is not None, "assembled of this very boot"
        farewells = presences(self.file, self.nonce, "leaving")
        return self.driver.run(node.perform, farewells, judge=node.judge)


@contextmanager
def booted(config: Path, *, role: str, debug: bool = False) -> Iterator[ProcessBoot]:
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
        yield ProcessBoot(
            file=file,
            state_dir=state_dir,
            nonce=BootNonce(secrets.randbits(64)),
            mailbox=Mailbox(),
            stack=stack,
        )
