"""What it costs to simulate large federations: real SGD in four tiers, as the machine allows.

Each size runs in a process of its own; the same local steps in a plain loop are the reference::

    python -m benchmarks.simulator --out benchmarks/results/simulator.json
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.federations import federation_of
from benchmarks.measure import Gate, Record, arguments_of, run
from benchmarks.scale_tree import TAU, scale_document

SECONDS_MAX = 600.0
MEMORY_MIB_MAX = 4096.0
GATED = 1000  # devices
BATCH = 10


def compiled(directory: Path) -> Path:
    """The demo's net, for batches of ten."""
    artefact = directory / "imu-10"
    command = [sys.executable, "-m", "fedtier", "compile", "fedtier.demo.net:ImuNet"]
    run([*command, "--batch", str(BATCH), "--out", str(artefact)])
    return artefact


def simulated(devices: int, rounds: int, artefact: Path) -> dict[str, Any]:
    """Simulate one size, in this process; figures as plain data."""
    from fedtier import simulate

    document = scale_document(devices, artefact=artefact, rounds=rounds)
    federation = federation_of(document, where=f"{devices} devices")
    began_s = time.monotonic()
    closed: list[tuple[float, float]] = []  # seconds and processor seconds as rounds close

    def note(row: object) -> None:
        closed.append((time.monotonic() - began_s, time.process_time()))

    result = simulate(federation, seed=1, on_round=note)
    first, last = closed[0], closed[-1]
    iterations = devices * math.prod(TAU[1:]) * max(1, rounds - 1)  # of devices, after round 0
    return {
        "devices": devices,
        "rounds": rounds,
        "seconds": time.monotonic() - began_s,
        "cpu_seconds": time.process_time(),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "virtual_seconds": result.seconds,
        "accuracy": result.accuracy,
        "model_digest": result.model_digest,
        "seconds_to_the_first_round": first[0],
        "cpu_ms_per_device_iteration": 1e3 * (last[1] - first[1]) / iterations,
    }


def plain(artefact: Path, *, iterations: int) -> dict[str, float]:
    """As many local steps as iterations have, in a plain loop: what no simulator can save."""
    from fedtier.artefact.artefact import Artefact
    from fedtier.artefact.prepared_data import prepare_device
    from fedtier.artefact.schedule import Schedule
    from fedtier.artefact.trainer import TrainTask
    from fedtier.artefact.trainers import load_trainer
    from fedtier.ids import IterationPath, NodeId

    opened = Artefact.load(artefact)
    spec = {"source": "imu", "subject": 1, "side": 0}
    data = prepare_device(spec, opened.manifest, node="d", where="benchmark")
    trainer = load_trainer(opened)
    schedule = Schedule(kind="constant", mu=0.1, floor=1.0, p0=0.0, p1=1.0)
    model, began_s = opened.initial(), time.process_time()
    for number in range(iterations):
        task = TrainTask(
            model=model, seed=1, path=IterationPath((number,)), node=NodeId("d"), steps=TAU[0],
            first_step=0, round_steps=TAU[0], schedule=schedule,
        )  # fmt: skip
        trained = trainer.train(task, data.train, cancelled=lambda: False)
        assert trained is not None
        model = trained.model
    return {"cpu_ms_per_device_iteration": 1e3 * (time.process_time() - began_s) / iterations}


def model_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What larger federations would take, by the largest that was measured."""
    largest = max(rows, key=lambda row: row["devices"])
    smallest = min(rows, key=lambda row: row["devices"])
    rounds = largest["rounds"]
    per_device_s = (largest["seconds"] - largest["seconds_to_the_first_round"]) / (
        largest["devices"] * max(1, rounds - 1)
    )
    span = largest["devices"] - smallest["devices"]
    per_device_mib = (largest["peak_rss_mib"] - smallest["peak_rss_mib"]) / span if span else 0.0
    return {
        "form": "seconds = devices (setting up + rounds x one); memory = first + devices x one",
        "setting_up_s_per_device": largest["seconds_to_the_first_round"] / largest["devices"],
        "round_s_per_device": per_device_s,
        "mib_per_device": per_device_mib,
        "10000_devices_20_rounds": {
            "seconds": 1e4 * (largest["seconds_to_the_first_round"] / largest["devices"])
            + 1e4 * 19 * per_device_s,
            "mib": largest["peak_rss_mib"] + (1e4 - largest["devices"]) * per_device_mib,
        },
    }


def main() -> int:
    """Measure every size, and judge the one that has bounds."""
    parser = arguments_of(__doc__)
    parser.add_argument("--devices", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)  # one size, on this artefact
    chosen = parser.parse_args()
    if chosen.one is not None:
        print(json.dumps(simulated(chosen.devices[0], chosen.rounds, chosen.one)))
        return 0
    record = Record("simulator", chosen)
    with tempfile.TemporaryDirectory() as directory:
        artefact = compiled(Path(directory))
        rows, loops = [], []
        for devices in sorted(chosen.devices):
            command = [sys.executable, "-m", "benchmarks.simulator", "--one", str(artefact)]
            options = ["--devices", str(devices), "--rounds", str(chosen.rounds)]
            loops.append(plain(artefact, iterations=200))
            rows.append(json.loads(run([*command, *options]).output.splitlines()[-1]))
        loops.append(plain(artefact, iterations=200))
    loop_ms = sum(loop["cpu_ms_per_device_iteration"] for loop in loops) / len(loops)
    for row in rows:
        row["cpu_of_a_plain_loop_ratio"] = row["cpu_ms_per_device_iteration"] / loop_ms
    gates = [
        gate
        for row in rows
        if row["devices"] == GATED
        for gate in (
            Gate(name="seconds, 1000 devices", value=row["seconds"], at_most=SECONDS_MAX),
            Gate(name="MiB, 1000 devices", value=row["peak_rss_mib"], at_most=MEMORY_MIB_MAX),
        )
    ]
    results = {"sizes": rows, "plain_loop_cpu_ms_per_device_iteration": loop_ms}
    complete = bool(gates) and chosen.rounds >= 20
    return record.close({**results, "model": model_of(rows)}, gates=gates, complete=complete)


if __name__ == "__main__":
    sys.exit(main())
