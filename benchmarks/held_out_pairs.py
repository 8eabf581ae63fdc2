"""Is the demo's accuracy luck of its two held-out people? Every pair of people held out in turn.

The demo's tree with the other eight people's sixteen watches, trained as nested loops in one
process, which ends in the same model as real processes would; evaluated on the pair::

    python -m benchmarks.held_out_pairs --out benchmarks/results/held_out_pairs.json
"""

from __future__ import annotations

import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from typing import Any

from benchmarks.federations import Document, federation_of, read, with_people, with_plan
from benchmarks.measure import Record, arguments_of, progress
from benchmarks.one_process import train

PEOPLE = range(1, 11)
PAIRS = ((1, 2), (3, 4), (5, 6), (7, 10), (8, 9))
"""Every person is held out once."""


def fold(document: Document, pair: tuple[int, int], *, seed: int, rounds: int | None) -> Document:
    """The federation of everybody else."""
    others = [person for person in PEOPLE if person not in pair]
    return with_plan(with_people(document, train=others, held_out=pair), seed=seed, rounds=rounds)


def train_fold(document: Document, pair: tuple[int, int]) -> dict[str, Any]:
    """One line of the table."""
    found = train(federation_of(document, where=f"without {pair}"))
    row = {
        "held_out": list(pair), "seed": document["plan"]["seed"], "accuracy": found["accuracy"],
        "loss": found["loss"], "worst": min(found["groups"].values()),
        "groups": found["groups"], "model_digest": found["model_digest"],
    }  # fmt: skip
    progress(line_of(row))
    return row


def line_of(row: dict[str, Any]) -> str:
    """A line for people."""
    wrists = "  ".join(f"{name} {accuracy:.3f}" for name, accuracy in row["groups"].items())
    first, second = row["held_out"]
    pair = f"{first} and {second}"
    return f"{pair:>8}  seed {row['seed']}  {row['accuracy']:.4f}  loss {row['loss']:.3f}  {wrists}"


def main() -> int:
    """Train every fold and print the table."""
    parser = arguments_of(__doc__)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--workers", type=int, default=1)
    chosen = parser.parse_args()
    record = Record("held_out_pairs", chosen)
    document = read()
    work = [
        (fold(document, pair, seed=seed, rounds=chosen.rounds), pair)
        for seed, pair in product(chosen.seeds, PAIRS)
    ]
    with ProcessPoolExecutor(chosen.workers, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(train_fold, *zip(*work, strict=True)))
    accuracies = [row["accuracy"] for row in rows]
    results = {
        "mean": statistics.mean(accuracies), "lowest": min(accuracies),
        "highest": max(accuracies), "folds": rows,
    }  # fmt: skip
    progress(f"mean {results['mean']:.4f}, lowest {results['lowest']:.4f}")
    return record.close(results, complete=chosen.rounds is None)


if __name__ == "__main__":
    sys.exit(main())
