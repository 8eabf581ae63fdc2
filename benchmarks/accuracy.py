"""How good the demo's model is on people who never took part, and what one machine would reach.

For every seed: the demo with its quantized links, in real processes; synchronous SGD in one
process with all devices' data, at three step sizes; and each device alone. All take as many local
steps, with the same net, data, augmentation and schedule::

    python -m benchmarks.accuracy --out benchmarks/results/accuracy.json
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.demo import Demo, run_demo
from benchmarks.federations import DEMO, Document, federation_of, read, with_plan
from benchmarks.measure import Gate, Record, arguments_of, progress
from fedtier.demo.reference import train_references

SEEDS = (1, 2, 3)
MEAN_MIN = 0.88
EACH_MIN = 0.86
BEHIND_MAX = 0.03  # below the best of one process


def _reference(document: Document, workers: int) -> dict[str, Any]:
    federation = federation_of(document, where="reference")
    plan = federation.plan
    return train_references(federation, seed=plan.seed, rounds=plan.rounds, workers=workers)


def row_of(demo: Demo, reference: dict[str, Any] | None) -> dict[str, Any]:
    """One seed's line."""
    report = demo.report
    return {
        "seed": report["seed"],
        "accuracy": report["accuracy"],
        "accuracy_held_out_worst": report["accuracy_held_out_worst"],
        "accuracy_devices": report["accuracy_devices"],
        "accuracy_by_round": [row["accuracy"] for row in demo.rounds],
        "model_digest": report["model_digest"],
        "links": [
            {key: row[key] for key in ("link", "quantizer", "q_mean")} for row in report["links"]
        ],
        "reference": reference,
        "behind_one_process": (
            None if reference is None else reference["one_process_best"] - report["accuracy"]
        ),
    }


def gates_of(rows: list[dict[str, Any]]) -> list[Gate]:
    """What the demo must reach."""
    accuracies = [row["accuracy"] for row in rows]
    gates = [
        Gate(name="mean over the seeds", value=statistics.mean(accuracies), at_least=MEAN_MIN),
        Gate(name="lowest of the seeds", value=min(accuracies), at_least=EACH_MIN),
    ]
    for row in rows:
        if row["reference"] is not None:
            ahead = row["accuracy"] - row["reference"]["alone_best"]
            seed = f"seed {row['seed']}: "
            behind = row["behind_one_process"]
            gates += [
                Gate(name=seed + "behind one process", value=behind, at_most=BEHIND_MAX),
                Gate(name=seed + "ahead of the best device alone", value=ahead, at_least=0.0),
            ]
    return gates


def main() -> int:
    """Run every seed, then judge."""
    parser = arguments_of(__doc__)
    parser.add_argument("--federation", type=Path, default=DEMO)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--broker", choices=["mosquitto", "embedded"])
    parser.add_argument("--no-reference", action="store_true", help="the demo alone")
    parser.add_argument("--workers", type=int, default=2, help="processes for the references")
    chosen = parser.parse_args()
    record = Record("accuracy", chosen)
    rows = []
    for seed in chosen.seeds:
        document = with_plan(read(chosen.federation), rounds=chosen.rounds, seed=seed)
        progress(f"seed {seed}: the federation")
        demo = run_demo(document, rounds=None, seed=None, broker=chosen.broker)
        progress(f"seed {seed}: accuracy {demo.report['accuracy']:.4f}; the references")
        reference = None if chosen.no_reference else _reference(document, chosen.workers)
        rows.append(row_of(demo, reference))
    accuracies = [row["accuracy"] for row in rows]
    results = {
        "mean": statistics.mean(accuracies), "lowest": min(accuracies), "seeds": rows,
    }  # fmt: skip
    complete = (
        chosen.rounds is None
        and chosen.federation == DEMO
        and not chosen.no_reference
        and set(chosen.seeds) >= set(SEEDS)
    )
    return record.close(results, gates=gates_of(rows), complete=complete)


if __name__ == "__main__":
    sys.exit(main())
