"""The runs that ``benchmarks.footprint`` looks at: agents in federations, and Flower's."""

from __future__ import annotations

import gzip
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.federations import Document, read, text_of
from benchmarks.measure import ROOT
from benchmarks.tree_memory import NOTHING, Held, Watch, held_by
from fedtier.broker.ports import free_port
from fedtier.config.federation import load_federation
from fedtier.data.fashion import DIRECTORY
from fedtier.demo.fleet import Fleet, NodeProcess
from fedtier.ids import NodeId
from fedtier.render.node_files import render_node_files

TAU = 8
KEEP_S = 1  # a graph process that nobody asks
LOOK_S = 1.0
WAIT_S = 60.0
DEVICE = NodeId("device")
BOARD = f'name = "any"\ndescription = "any"\nmeasured = false\n[board]\nkeep_trainer_s = {KEEP_S}\n'


def compile_lenet(out: Path) -> None:
    """The artefact of the peers' net."""
    from benchmarks.peers.lenet import BATCH, LABELS, make_lenet
    from cloud.compiler.compile import compile_module

    compile_module(
        make_lenet(), name="lenet", input_shape=(1, 28, 28), labels=LABELS, batch=BATCH, out=out
    )


def write_images(directory: Path, *, count: int = 600) -> None:
    """Fashion-MNIST images for one device, and as many for the cloud to evaluate on."""
    directory.mkdir()
    with gzip.open(Path(DIRECTORY) / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + 2 * count * 784)[16:], np.uint8)
    with gzip.open(Path(DIRECTORY) / "train-labels-idx1-ubyte.gz") as file:
        y = np.frombuffer(file.read(8 + 2 * count)[8:], np.uint8).astype(np.int64)
    x = pixels.reshape(-1, 1, 28, 28).astype(np.float32) / 255
    np.savez(directory / f"{DEVICE}.npz", x=x[:count], y=y[:count])
    np.savez(directory / "held-out.npz", x=x[count:], y=y[count:])


def imu_federation(scratch: Path, *, rounds: int) -> Document:
    """One watch of the demo's below the cloud."""
    return _federation(scratch, rounds=rounds) | {
        "node": [{"id": DEVICE, "board": str(_board(scratch)), "data": {"subject": 1, "side": 0}}]
    }


def lenet_federation(scratch: Path, artefact: Path, images: Path, *, rounds: int) -> Document:
    """One device with images below the cloud."""
    data = {"source": "npz-directory", "path": str(images)}
    return _federation(scratch, rounds=rounds) | {
        "model": {"artefact": str(artefact)},
        "data": data,
        "evaluation": data | {"devices": ["held-out"]},
        "node": [{"id": DEVICE, "board": str(_board(scratch))}],
    }


def _federation(scratch: Path, *, rounds: int) -> dict[str, Any]:
    shipped = dict(read())
    shipped.pop("broker", None)
    plan = {**shipped["plan"], "rounds": rounds, "tau": [TAU]}
    return shipped | {"tree": {"cloud": [DEVICE]}, "link": shipped["link"][:1], "plan": plan}


def _board(scratch: Path) -> Path:
    path = scratch / "board.toml"
    path.write_text(BOARD, encoding="utf-8")
    return path


def run_agent(scratch: Path, document: Document, *, module: str = "") -> dict[str, Held]:
    """Train with a real agent: its peak from its start to the end of the run, and idle afterwards.

    Args:
        scratch: Where directories may be made.
        document: A federation of one device.
        module: What to start in place of ``fedtier agent run``.

    Raises:
        RuntimeError: If a process fails.
    """
    directory = Path(scratch) / f"run-{time.monotonic_ns()}"
    file = directory / "federation.toml"
    (directory / "nodes").mkdir(parents=True)
    file.write_text(text_of(document), encoding="utf-8")
    federation = load_federation(file)
    with Fleet(federation.topology, directory) as fleet:
        urls = fleet.start_brokers("mosquitto", part_bytes=federation.plan.part_bytes)
        files = render_node_files(
            federation, directory=directory, federation_file=file, broker_urls=urls,
            broker_kind="url",
        )  # fmt: skip
        for node, text in files.items():
            (directory / "nodes" / f"{node}.toml").write_text(text, encoding="utf-8")
        if module:
            command = [sys.executable, "-m", module, str(directory / "nodes" / f"{DEVICE}.toml")]
            agent = NodeProcess(DEVICE, command, directory / "logs" / "device.log")
            fleet.nodes[DEVICE] = agent
        else:
            agent = fleet.start_node(DEVICE)
        with Watch(agent.pid) as watch:
            cloud = fleet.start_node(NodeId("cloud"), "--out", str(directory / "out"))
            while (ended := cloud.poll()) is None:
                if agent.poll() is not None:
                    raise RuntimeError(f"the agent ended:\n{agent.log_tail()}")
                time.sleep(0.05)
            if ended.exit_code:
                raise RuntimeError(f"the cloud {ended.how}:\n{cloud.log_tail()}")
        _until_childless(agent.pid)
        return {"training": watch.peak, "idle": _look(agent.pid)}


def run_flower(command: Sequence[str], data: str, *, rounds: int) -> dict[str, Held]:
    """Train with a Flower client: its peak from its start to its end, and between rounds.

    Args:
        command: What starts ``peers/flower.py``.
        data: The client's examples.
        rounds: How many.
    """
    address = f"127.0.0.1:{free_port()}"
    server = subprocess.Popen(
        [*command, "server", address, str(rounds), str(TAU)], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    client = subprocess.Popen(
        [*command, "client", data, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    idle = NOTHING
    try:
        with Watch(client.pid) as watch:
            assert server.stdout is not None
            for line in server.stdout:
                if line.strip() == "rest":
                    idle |= _look(client.pid)
            if server.wait(WAIT_S) or client.wait(WAIT_S):
                raise RuntimeError("Flower's server or client failed")
        return {"training": watch.peak, "idle": idle}
    finally:
        for process in (server, client):
            process.kill()
            process.wait()


def still(command: Sequence[str], *, peak: bool = False) -> Held:
    """Start a program that says ``done`` and waits; what it holds then, or held at most until then.

    Raises:
        RuntimeError: If it ends first.
    """
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        with Watch(process.pid) as watch:
            if not any(line.strip() == "done" for line in process.stdout):
                raise RuntimeError(f"{command} ended before it was done")
        held = watch.peak if peak else _look(process.pid)
        process.communicate("go on\n")
    return held


def _look(pid: int) -> Held:
    held, until_s = NOTHING, time.monotonic() + LOOK_S
    while time.monotonic() < until_s:
        held |= held_by(pid)
        time.sleep(0.05)
    return held


def _until_childless(pid: int) -> None:
    until_s = time.monotonic() + WAIT_S
    while any(p.read_text().strip() for p in Path(f"/proc/{pid}/task").glob("*/children")):
        if time.monotonic() > until_s:
            raise RuntimeError(f"the agent's graph process stays for more than {WAIT_S:g} s")
        time.sleep(0.05)
