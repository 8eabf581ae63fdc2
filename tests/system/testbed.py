"""A federation of real processes: written, started, killed, restarted, waited for, cleared away.

Every node is the process that a test bed would start, ``fedtier agent|gateway|cloud run --config``,
on data made up from the device's name and with the demo's model, so that nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from guards import Certificates, Guard, acl_of, with_credentials

from fedtier.broker import BrokerProcess, BrokerSettings
from fedtier.broker.process import service_command
from fedtier.config.federation import Federation, load_federation
from fedtier.ids import NodeId
from fedtier.render.node_files import render_node_files

REPOSITORY = Path(__file__).parents[2]
LAUNCH = REPOSITORY / "fedtier" / "broker" / "launch.py"
DEADLINE_S = 90.0  # what takes two seconds here may take a minute on a small loaded board
DIMENSION = 24_807


def wait_until(
    condition: Callable[[], object], what: str, *, deadline_s: float = DEADLINE_S
) -> None:
    """Look again and again; the only place of these tests where time passes."""
    give_up_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < give_up_s, f"not within {deadline_s:g} s: {what}"
        time.sleep(0.02)


class Program:
    """A process of ours, with a log; the kernel ends it if the tests die."""

    def __init__(
        self, command: Sequence[str], log_path: Path, *, environment: Mapping[str, str] = {}
    ) -> None:
        self.log_path = log_path
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as log_file:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(LAUNCH), str(os.getpid()), "node", *command],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **environment},
                cwd=REPOSITORY,
            )

    @classmethod
    def fedtier(
        cls, *arguments: object, log_path: Path, environment: Mapping[str, str] = {}
    ) -> Self:
        """``fedtier ARGUMENT...`` as it is installed here."""
        command = [sys.executable, "-m", "fedtier", *map(str, arguments)]
        return cls(command, log_path, environment=environment)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def signal(self, number: int) -> None:
        assert self.running, self.log
        os.kill(self.pid, number)

    def kill(self) -> None:
        """As a power cut would."""
        if self.running:
            os.kill(self.pid, signal.SIGKILL)
        self._process.wait()

    def exit_code(self, *, deadline_s: float = DEADLINE_S) -> int:
        """Wait for its end."""
        try:
            return self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {deadline_s:g} s:\n{self.log}") from None


class Testbed:
    """One federation in one directory; use it as a context."""

    __test__ = False

    def __init__(
        self,
        directory: Path,
        federation_file: Path,
        *,
        broker: str = "mosquitto",
        environment: Mapping[str, str] = {},
        sys_interval_s: int = 0,
        options: Mapping[str, object] = {},
        guard: Guard | None = None,
    ) -> None:
        self.directory = directory
        self.federation_file = federation_file
        self.federation: Federation = load_federation(federation_file)
        self.topology = self.federation.topology
        self._kind = broker
        self._environment = environment
        self._sys_interval_s = sys_interval_s
        self._options = options  # lines of mosquitto.conf to replace
        self.guard = guard  # None = brokers admit anybody
        self.brokers: dict[NodeId, BrokerProcess | Program] = {}
        self._ports: dict[NodeId, int] = {}
        self.nodes: dict[NodeId, Program] = {}
        self._clouds = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes.values():
            node.kill()
        for broker in self.brokers.values():
            broker.kill()

    # Brokers

    def start_brokers(self) -> None:
        """A broker beside every parent, and the node files that name them."""
        for parent in self.topology.parents():
            self._first_broker(parent)
        self.write_nodes()

    def write_nodes(self) -> None:
        texts = render_node_files(
            self.federation,
            directory=self.directory,
            federation_file=self.federation_file,
            broker_urls=self.urls,
            broker_kind="url",
        )
        (self.directory / "nodes").mkdir(parents=True, exist_ok=True)
        for node, text in texts.items():
            if self.guard is not None:
                text = with_credentials(text, self.guard.credentials(node))
            self.file(node).write_text(text, encoding="utf-8")

    @property
    def urls(self) -> dict[NodeId, str]:
        scheme = "mqtts" if isinstance(self.guard, Certificates) else "mqtt"
        return {parent: f"{scheme}://127.0.0.1:{port}" for parent, port in self._ports.items()}

    def _settings(self, parent: NodeId, port: int) -> BrokerSettings:
        return BrokerSettings(
            kind=self._kind,
            port=port,
            part_bytes=self.federation.plan.part_bytes,
            children=len(self.topology.children(parent)),
            sys_interval_s=self._sys_interval_s,
            **self._guarded(parent),
        )

    def _guarded(self, parent: NodeId) -> dict[str, Any]:
        if self.guard is None:
            return {}
        acl = acl_of(self.federation.id, parent, self.topology.cloud)
        return {"acl": acl, **self.guard.listener()}

    def _first_broker(self, parent: NodeId) -> None:
        place = self.directory / "brokers" / parent
        broker = BrokerProcess.start(self._settings(parent, 0), place)
        self._ports[parent] = broker.port
        self.brokers[parent] = broker
        if self._options:
            self.restart_broker(parent)

    def restart_broker(self, parent: NodeId) -> None:
        """Kill a cell's broker as a power cut would, and start it again on the same port."""
        self.brokers[parent].kill()
        place = self.directory / "brokers" / parent
        if not self._options:
            self.brokers[parent] = BrokerProcess.start(
                self._settings(parent, self._ports[parent]), place
            )
            return
        settings = self._settings(parent, self._ports[parent])
        _, program, _, conf = service_command(settings, port=self._ports[parent], directory=place)
        lines = Path(conf).read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.split()[0] not in self._options]
        changed = [f"{name} {value}" for name, value in self._options.items()]
        Path(conf).write_text("\n".join([*changed, *kept]) + "\n", encoding="utf-8")
        self.brokers[parent] = Program([program, "-c", conf], place / "broker.log")

    # Nodes

    def file(self, node: str) -> Path:
        return self.directory / "nodes" / f"{node}.toml"

    def start(self, *nodes: str) -> None:
        """Start these nodes, not the cloud."""
        for node in nodes:
            found = self.topology.node(NodeId(node))
            role = "agent" if found.is_device else "gateway"
            self.nodes[found.id] = self._program(role, found.id)

    def start_fleet(self) -> None:
        """Everybody but the cloud, in the order of the tree."""
        self.start(*(node.id for node in self.topology if not node.is_cloud))

    def start_cloud(self, *options: object) -> Program:
        cloud = self.topology.cloud
        self.nodes[cloud] = self._program("cloud", cloud, *options)
        return self.nodes[cloud]

    def _program(self, role: str, node: NodeId, *options: object) -> Program:
        return Program.fedtier(
            role, "run", "--config", self.file(node), *options,
            log_path=self.directory / "logs" / f"{node}.log", environment=self._environment,
        )  # fmt: skip

    def restart(self, node: str, *options: object) -> None:
        """Kill a node as a power cut would, and start it again."""
        self.nodes[NodeId(node)].kill()
        if node == self.topology.cloud:
            self.start_cloud(*options)
        else:
            self.start(node)

    # Runs

    def run(self, *options: object, code: int = 0) -> dict[str, Any]:
        """One training from beginning to end; the report."""
        self._clouds += 1
        out = self.directory / f"run-{self._clouds}"
        self.start_cloud("--out", out, *options)
        return self.finished(out, code=code)

    def finished(self, out: Path, *, code: int = 0) -> dict[str, Any]:
        """Wait for the cloud's end with this exit code; the report."""
        cloud = self.nodes[self.topology.cloud]
        self.wait_until(lambda: not cloud.running, "the run ends")
        assert cloud.exit_code() == code, cloud.log
        report: dict[str, Any] = json.loads((out / "report.json").read_bytes())
        return report

    def rows(self, out: Path) -> list[dict[str, Any]]:
        """The rounds that have closed."""
        path = out / "metrics.jsonl"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something that takes all nodes but the cloud alive."""

        def looked() -> bool:
            return bool(condition() or self._dead())

        try:
            wait_until(looked, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None
        assert not self._dead(), f"{self._dead()} ended, waiting until {what}\n{self.logs()}"

    def _dead(self) -> list[str]:
        cloud = self.topology.cloud
        return [n for n, p in self.nodes.items() if n != cloud and not p.running]

    def logs(self) -> str:
        return "\n".join(
            f"--- {node}\n" + "\n".join(program.log.splitlines()[-8:])
            for node, program in self.nodes.items()
        )


def is_gone(pid: int) -> bool:
    """Whether no process has this id; a zombie nobody has waited for counts as gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def descendants(pid: int) -> set[int]:
    """All processes beneath one, by /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text(encoding="ascii", errors="replace")
            except OSError:
                continue
            parents[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
    found: set[int] = set()
    fresh = {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return found


def all_gone(pids: Iterable[int]) -> bool:
    return all(is_gone(pid) for pid in pids)
