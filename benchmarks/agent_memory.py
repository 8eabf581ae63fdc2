"""What a device's processes hold of the board's memory: while they train, and between iterations.

``python -m benchmarks.agent_memory``; needs torch (for the LeNet) and Linux. Each variant is a
process of its own that does an agent's work without its network: loads what the agent loads,
trains and evaluates a few times, then gives back what it can and rests. ``process`` trains as the
agent does, in a graph process; ``one`` in the same process, whose sessions are then released and
whose heap is trimmed.

Two figures, of the whole process tree: ``pss``, in which pages that other processes of this machine
map too count in part, and ``alone``, the distinct page frames of the tree, which is what it would
be with nothing else on the board (root only; 0 otherwise).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.measure import ROOT

_PAGE = 4096
_SAMPLE_S = 0.01
_ITERATIONS = 12
_REST_S = 1.0
_PRESENT, _FRAME = np.uint64(1 << 63), np.uint64((1 << 55) - 1)


def main() -> None:
    """Measure every model both ways, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--do", nargs=2, metavar=("VARIANT", "ARTEFACT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.do is not None:
        _work(*given.do)
        return
    with tempfile.TemporaryDirectory() as directory:
        lenet = Path(directory) / "lenet"
        _compile_lenet(lenet)
        for model, artefact in (("imu-net", "package:imu"), ("lenet", str(lenet))):
            for variant in ("process", "one"):
                print(
                    json.dumps({"model": model, "variant": variant} | _measure(variant, artefact))
                )


def _measure(variant: str, artefact: str) -> dict[str, float]:
    """Start a variant and look at it until it says that it is done."""
    command = [sys.executable, "-m", "benchmarks.agent_memory", "--do", variant, artefact]
    figures: dict[str, float] = {}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as done:
        assert done.stdout is not None
        assert done.stdin is not None
        for phase in ("start", "train", "rest"):
            assert done.stdout.readline().strip() == phase.encode()
            largest = {"pss": 0.0, "alone": 0.0}
            until_s = time.monotonic() + (_REST_S if phase != "train" else 1e9)
            while time.monotonic() < until_s and not (
                phase == "train" and select.select([done.stdout], [], [], 0)[0]
            ):
                found = tree_memory(done.pid)
                largest = {name: max(largest[name], found[name]) for name in largest}
                time.sleep(_SAMPLE_S)
            figures |= {f"{phase}_{name}_mib": round(mib, 1) for name, mib in largest.items()}
            done.stdin.write(b"go on\n")
            done.stdin.flush()
    return figures


def tree_memory(pid: int) -> dict[str, float]:
    """Proportional and distinct memory of a process and its children, in MiB."""
    pids = [pid, *_children(pid)]
    pss_kib, frames = 0, [np.empty(0, np.uint64)]
    for each in pids:
        try:
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    pss_kib += int(line.split()[1])
            frames += _frames(each)
        except OSError:
            continue  # it has ended
    return {
        "pss": pss_kib / 1024,
        "alone": len(np.unique(np.concatenate(frames))) * _PAGE / 2**20,
    }


def _children(pid: int) -> Iterator[int]:
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            yield from (int(child) for child in listing.read_text().split())
        except OSError:
            continue


def _frames(pid: int) -> list[np.ndarray]:
    found = []
    with Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pagemap:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end = (int(bound, 16) for bound in line.split()[0].split("-"))
            if start >= 1 << 63:
                continue  # vsyscall
            pagemap.seek(start // _PAGE * 8)
            entries = np.frombuffer(pagemap.read((end - start) // _PAGE * 8), np.uint64)
            frames = entries[(entries & _PRESENT) != 0] & _FRAME
            found.append(frames[frames != 0])  # 0: not for this user's eyes
    return found


def _work(variant: str, name: str) -> None:
    """Do an agent's work; says when each phase begins, and waits to be told to go on."""
    import edge_agent.run  # noqa: F401 (all that an agent loads)
    from edge_agent.graph_process import GraphProcess
    from edge_agent.trainer_onnx import OnnxTrainer
    from fedtier.artefact.evaluate import score
    from fedtier.artefact.find import find_artefact
    from fedtier.artefact.manifest import EVALUATE_FILE, TRAIN_FILE
    from fedtier.artefact.schedule import Schedule
    from fedtier.artefact.trainer import TrainTask
    from fedtier.data.examples import Examples
    from fedtier.ids import IterationPath, NodeId

    artefact = find_artefact(name)
    manifest = artefact.manifest
    rng = np.random.default_rng(1)
    y = rng.integers(0, manifest.classes, 400)
    x = rng.standard_normal((len(y), *manifest.input_shape), np.float32)
    examples = Examples(x=x, y=y)
    _phase("start")
    w = artefact.initial()
    graphs = GraphProcess(artefact.files) if variant == "process" else None
    _phase("train", wait=False)
    for number in range(_ITERATIONS):
        if graphs is not None:
            trainer = OnnxTrainer(artefact, graph=graphs.graph(TRAIN_FILE))
            evaluate = graphs.graph(EVALUATE_FILE)
        else:
            trainer, evaluate = OnnxTrainer(artefact), artefact.evaluate_session()
        task = TrainTask(
            model=w, seed=1, path=IterationPath((number,)), node=NodeId("d"), steps=10,
            first_step=0, round_steps=10, schedule=Schedule(kind="constant", mu=0.05),
        )  # fmt: skip
        trained = trainer.train(task, examples, cancelled=lambda: False)
        assert trained is not None
        w = trained.model
    score(evaluate, w, examples)
    if graphs is not None:
        graphs.end()
    del trainer, evaluate
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    _phase("rest")
    sys.stdin.readline()


def _phase(name: str, *, wait: bool = True) -> None:
    sys.stdout.write(f"{name}\n")
    sys.stdout.flush()
    if wait:
        sys.stdin.readline()


def _compile_lenet(out: Path) -> None:
    from torch import nn

    from cloud.compiler.compile import compile_module

    module = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    labels = [str(digit) for digit in range(10)]
    compile_module(module, name="lenet", input_shape=(1, 28, 28), labels=labels, batch=32, out=out)


if __name__ == "__main__":
    main()
