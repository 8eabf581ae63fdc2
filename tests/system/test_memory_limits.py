"""A device whose processes may hold so much memory and no more, the kernel seeing to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from testbed import Program, Testbed, wait_until
from torch import nn

from cloud.compiler.compile import compile_module
from fedtier.ids import NodeId

MIB = 2**20
TASK = {"rounds": 2, "tau": (8, 2)}
KILLED = "memory: the kernel killed the graph process"


class MemoryGroup:
    """A control group whose processes together may hold so much memory."""

    def __init__(self, directory: Path, mib: int) -> None:
        self._directory = directory
        (directory / "memory.limit_in_bytes").write_text(str(mib * MIB), encoding="ascii")

    def command(self, *command: str) -> list[str]:
        """A command that joins the group before it begins."""
        join = f'echo $$ > {self._directory}/cgroup.procs && exec "$@"'
        return ["/bin/sh", "-c", join, "sh", *command]

    def start(self, bed: Testbed, device: str) -> Program:
        agent = ("-m", "fedtier", "agent", "run", "--config", str(bed.file(device)))
        log_path = bed.directory / "logs" / f"{device}.log"
        program = Program(self.command(sys.executable, *agent), log_path)
        bed.nodes[NodeId(device)] = program
        return program

    def remove(self) -> None:
        procs = self._directory / "cgroup.procs"
        for pid in procs.read_text(encoding="ascii").split():
            os.kill(int(pid), signal.SIGKILL)
        wait_until(lambda: not procs.read_text(encoding="ascii").strip(), "the group is empty")
        self._directory.rmdir()


@pytest.fixture
def memory_group(testbed, request) -> Iterator[object]:
    """Make groups; they are removed when the test bed's processes have ended."""
    own = "/"
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        own = path if "memory" in controllers.split(",") else own
    root = Path("/sys/fs/cgroup/memory") / own.lstrip("/")
    made: list[MemoryGroup] = []

    def make(mib: int) -> MemoryGroup:
        directory = root / f"fedtier-{os.getpid()}-{mib}"
        try:
            directory.mkdir()
            made.append(MemoryGroup(directory, mib))
        except OSError as error:
            pytest.skip(f"this test needs a version 1 memory group of its own: {error}")
        return made[-1]

    yield make
    for group in made:
        group.remove()


def run_limited(bed: Testbed, group: MemoryGroup) -> dict:
    bed.start("west", "east", "w-1", "e-0")
    group.start(bed, "w-0")
    return bed.run()


def test_256_mib_are_enough_and_change_no_bit(testbed, memory_group, digest_alone):
    group = memory_group(256)
    bed = testbed(**TASK)
    report = run_limited(bed, group)
    assert report["model_digest"] == digest_alone(**TASK)
    assert "killed" not in bed.nodes["w-0"].log


@pytest.mark.parametrize("mib", [128, 48])
def test_with_less_it_trains_to_the_same_bits_or_abstains_and_says_why(
    testbed, memory_group, digest_alone, mib
):
    group = memory_group(mib)
    bed = testbed(**TASK)
    report = run_limited(bed, group)
    (link, _) = report["links"]
    agent = bed.nodes["w-0"]
    assert agent.running, agent.log
    if link["abstained"] == 0:
        assert report["model_digest"] == digest_alone(**TASK)
    else:
        assert link["abstained"] == 2 * 2
        assert f"reason='{KILLED}" in agent.log
        assert "signal=SIGKILL out_of_memory=True" in agent.log


LARGE = """
import sys
from pathlib import Path
import numpy as np
from edge_agent.graph_process import GraphProcess
from edge_agent.trainer_onnx import OnnxTrainer
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.manifest import GRADIENT_FILE, TRAIN_FILE
from fedtier.artefact.schedule import Schedule
from fedtier.artefact.trainer import TrainTask
from fedtier.data.examples import Examples
from fedtier.ids import IterationPath, NodeId
from fedtier.runtime import logs

logs.set_up()
artefact = Artefact.load(Path(sys.argv[1]))
graphs = GraphProcess(artefact.files)
trainer = OnnxTrainer(
    artefact, graph=graphs.graph(TRAIN_FILE), gradient=graphs.graph(GRADIENT_FILE)
)
rng = np.random.default_rng(1)
examples = Examples(
    x=rng.standard_normal((64, 6, 128), np.float32), y=rng.integers(0, 7, 64)
)
task = TrainTask(
    model=artefact.initial(), seed=1, path=IterationPath((0,)), node=NodeId("d"), steps=2,
    first_step=0, round_steps=2, schedule=Schedule(kind="constant", mu=0.1),
)
trained = trainer.train(task, examples, cancelled=lambda: False)
graphs.end()
print(f"loss {trained.loss_sum / 2:.3f}")
"""


@pytest.fixture(scope="module")
def large_batches(tmp_path_factory) -> Path:
    """Some 70 MiB of activations at 512 rows, 2 MiB at 16."""
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv1d(6, 64, 1), nn.Tanh(), nn.AvgPool1d(16), nn.Flatten(), nn.Linear(64 * 8, 7)
    )  # fmt: skip
    out = tmp_path_factory.mktemp("large")
    compile_module(
        net, name="large", input_shape=(6, 128), labels=list("abcdefg"), batch=512, microbatch=16,
        out=out,
    )  # fmt: skip
    return out


def test_a_batch_that_exceeds_the_memory_is_done_by_parts(large_batches, memory_group):
    done = subprocess.run(
        memory_group(96).command(sys.executable, "-c", LARGE, str(large_batches)),
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "training by parts of a batch  rows=16" in done.stderr
    assert done.stderr.count("graph process killed  signal=SIGKILL out_of_memory=True") == 1
    # Of two steps the first begins near chance, ln 7 = 1.95 nats; what diverged would be far off.
    assert 1.0 < float(done.stdout.split()[1]) < 2.5
