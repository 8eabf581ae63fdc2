"""What an agent takes of a board, beside a torch agent and a Flower client on the same task.

``python -m benchmarks.footprint [--out FILE]``; as root, on Linux, with the development
environment, mosquitto and Debian's dataset-fashion-mnist. The agents are real: processes of a
federation with a cloud and a broker. Memory is of the whole tree of processes, ``alone``, as on a
board that runs nothing else, and as PSS on this machine. Environments are made anew and removed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.footprint_runs import (
    compile_lenet,
    imu_federation,
    lenet_federation,
    run_agent,
    run_flower,
    still,
    write_images,
)
from benchmarks.measure import (
    ROOT,
    Gate,
    Record,
    arguments_of,
    in_turn,
    progress,
    ratios,
    run,
    spread,
)
from benchmarks.tree_memory import Held

TRAINING_MAX_MIB, IDLE_MAX_MIB, INSTALL_MAX_MIB = 90.0, 50.0, 200.0
FLOWER = ROOT / "benchmarks" / "peers" / "flower.py"
TORCH_AGENT = "benchmarks.peers.torch_agent"
DEVICE = ("-r", "requirements/build.txt", "-r", "requirements/device.txt")
WORK = [sys.executable, "-m", "benchmarks.footprint_work"]
IMPORT = "print('done', flush=True); input()"
BOTH = (  # the agent, and below it the process that will run its graphs
    "import sys, subprocess, edge_agent.run;"
    "subprocess.run([sys.executable, '-c', 'import edge_agent.graph_main;"
    'print("done", flush=True); input()\'])'
)


@dataclass(kw_only=True)
class Subject:
    """One line of the table."""

    name: str
    held: dict[str, Held] = field(default_factory=dict)
    cost: list[float] = field(default_factory=list)
    install_mib: float = 0.0

    def to_json(self, reference: Subject) -> dict[str, Any]:
        """As it stands in the result."""
        memory = {what: {"alone": h.alone, "pss": h.pss} for what, h in self.held.items()}
        return {
            "memory_mib": memory,
            "cpu_ms_per_step": spread(self.cost),
            "cpu_per_step / fedtier's": ratios(self.cost, reference.cost),
            "install_mib": self.install_mib,
        }


def main() -> int:
    """Measure, print the table, judge the bounds."""
    parser = arguments_of(__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="of the cost of a step")
    parser.add_argument("--steps", type=int, default=300, help="a repeat times")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--alone", action="store_true", help="fedtier's own lines, no peers")
    chosen = parser.parse_args()
    record = Record("footprint", chosen)
    with tempfile.TemporaryDirectory(prefix="fedtier-benchmark-") as scratch:
        subjects = measure(Path(scratch), chosen)
    for line in table(subjects):
        progress(line)
    ours = subjects[:2]
    gates = [
        gate
        for subject in ours
        for gate in (
            Gate(
                name=f"{subject.name}: training, alone, MiB",
                value=subject.held["training"].alone,
                at_most=TRAINING_MAX_MIB,
            ),
            Gate(
                name=f"{subject.name}: idle, alone, MiB",
                value=subject.held["idle"].alone,
                at_most=IDLE_MAX_MIB,
            ),
        )
    ]
    gates.append(Gate(name="install, MiB", value=ours[0].install_mib, at_most=INSTALL_MAX_MIB))
    results = {s.name: s.to_json(ours[0] if s is ours[0] else ours[1]) for s in subjects}
    complete = not chosen.alone and all(
        getattr(chosen, name) >= parser.get_default(name) for name in ("repeats", "steps", "rounds")
    )
    return record.close(results, gates=gates, complete=complete)


def measure(scratch: Path, chosen: argparse.Namespace) -> list[Subject]:
    """All figures of all subjects, fedtier's two lines first."""
    lenet, images = scratch / "lenet", scratch / "images"
    compile_lenet(lenet)
    write_images(images)
    arguments = [str(lenet), str(images / "device.npz")]
    imu, net = Subject(name="fedtier, IMU net"), Subject(name="fedtier, LeNet")
    torch, flower = Subject(name="torch agent, LeNet"), Subject(name="Flower client, LeNet")
    imu_arguments = ["package:imu", "random"]
    costs: dict[str, Callable[[], float]] = {
        imu.name: lambda: cost([*WORK, "cost", "fedtier", *imu_arguments, str(chosen.steps)]),
        net.name: lambda: cost([*WORK, "cost", "fedtier", *arguments, str(chosen.steps)]),
    }
    subjects = [imu, net]

    progress("installing what a device installs")
    make_environment(scratch / "device", *DEVICE)
    imu.install_mib = net.install_mib = size_mib(scratch / "device")
    for subject, federation, work in (
        (imu, imu_federation(scratch, rounds=chosen.rounds), imu_arguments),
        (net, lenet_federation(scratch, lenet, images, rounds=chosen.rounds), arguments),
    ):
        progress(subject.name)
        subject.held["import"] = still([sys.executable, "-c", BOTH])
        subject.held |= run_agent(scratch, federation)
        subject.held["inference"] = still([*WORK, "infer", "fedtier", *work], peak=True)
    if not chosen.alone:
        progress(torch.name)
        importing = f"import {TORCH_AGENT};{IMPORT}"
        torch.held["import"] = still([sys.executable, "-c", importing])
        federation = lenet_federation(scratch, lenet, images, rounds=chosen.rounds)
        torch.held |= run_agent(scratch, federation, module=TORCH_AGENT)
        torch.held["inference"] = still([*WORK, "infer", "torch", *arguments], peak=True)
        progress("installing what a torch agent installs")
        make_environment(scratch / "torch", *DEVICE, torch_pin())
        torch.install_mib = size_mib(scratch / "torch")
        progress("installing Flower")
        python = make_environment(scratch / "flower", "-r", "requirements/peers.txt")
        flower.install_mib = size_mib(scratch / "flower")
        progress(flower.name)
        command = [str(python), str(FLOWER)]
        importing = (
            f"import sys; sys.path.insert(0, {str(FLOWER.parent)!r}); import flower;{IMPORT}"
        )
        flower.held["import"] = still([str(python), "-c", importing])
        flower.held |= run_flower(command, arguments[1], rounds=chosen.rounds)
        flower.held["inference"] = still([*command, "infer", arguments[1]], peak=True)
        costs[torch.name] = lambda: cost([*WORK, "cost", "torch", *arguments, str(chosen.steps)])
        costs[flower.name] = lambda: cost([*command, "cost", arguments[1], str(chosen.steps)])
        subjects += [torch, flower]
    found = in_turn(costs, repeats=chosen.repeats)
    for subject in subjects:
        subject.cost = found[subject.name]
    return subjects


def cost(command: list[str]) -> float:
    """Processor time of one step, in ms, as a program says it in its last line."""
    last = run(command).output.strip().splitlines()[-1]
    return float(json.loads(last)["cpu_ms_per_step"])


def make_environment(directory: Path, *what: str) -> Path:
    """A fresh virtual environment with these requirements; its Python."""
    venv.create(directory, with_pip=True)
    python = directory / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, *what])
    if "requirements/device.txt" in what:
        run([*pip, "--no-deps", "--no-build-isolation", "."])
    return python


def torch_pin() -> str:
    """The version of torch that this machine's development environment has."""
    lines = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8").splitlines()
    machine = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout
    return next(
        line.partition(";")[0] for line in lines if line[:6] == "torch=" and machine.strip() in line
    )


def size_mib(environment: Path) -> float:
    """Bytes of all files in an environment's site-packages, pip and setuptools included."""
    (packages,) = environment.glob("lib/python*/site-packages")
    return sum(p.lstat().st_size for p in packages.rglob("*") if not p.is_dir()) / 2**20


def table(subjects: list[Subject]) -> list[str]:
    """The table, as the README shows it."""
    phases = ("import", "idle", "training", "inference")
    rows = [["", *phases, "CPU ms a step", "install"]]
    for subject in subjects:
        held: Mapping[str, Held] = subject.held
        rows.append(
            [
                subject.name,
                *(f"{held[p].alone:.1f} ({held[p].pss:.0f})" for p in phases),
                f"{spread(subject.cost)['median']:.2f}",
                f"{subject.install_mib:.0f}",
            ]
        )
    rows.insert(1, ["---"] * len(rows[0]))
    return ["| " + " | ".join(row) + " |" for row in rows]


if __name__ == "__main__":
    sys.exit(main())
