"""What a federation of real processes costs: bytes, time, memory and processor.

Four programs run in turn, several times: the demo's federation; the same with float32 on every
link; the same tree as nested loops in one process, which ends in the same model to the bit; and
plain synchronous SGD in one process, with as many local steps::

    python -m benchmarks.end_to_end --out benchmarks/results/end_to_end.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.demo import Demo, run_demo
from benchmarks.federations import DEMO, read, with_identity_links
from benchmarks.measure import Gate, Record, Usage, arguments_of, in_turn, ratios, run, spread

CPU_SECONDS_MAX = 240
KINDS = ("device", "gateway", "cloud")


def one_process(file: Path, *extra: str, rounds: int | None, seed: int | None) -> Usage:
    """Train in one process; its standard output is its result."""
    command = [sys.executable, "-m", "benchmarks.one_process", "--quiet", *extra]
    command += ["--federation", str(file)]
    for name, value in {"--rounds": rounds, "--seed": seed}.items():
        command += [name, str(value)] if value is not None else []
    return run(command)


def figures_of(demos: Sequence[Demo]) -> dict[str, Any]:
    """What several runs of one federation took."""
    links = demos[0].report["links"]
    return {
        "cpu_seconds": spread(d.cpu_seconds for d in demos),
        "cpu_seconds_by_kind": {
            kind: spread(d.cpu_seconds_of(kind) for d in demos) for kind in KINDS
        },
        "seconds": spread(d.seconds for d in demos),
        "seconds_per_round": spread(d.seconds_per_round for d in demos),
        "peak_rss_mib": {
            kind: spread(d.peak_rss_bytes(kind) / 2**20 for d in demos) for kind in KINDS
        },
        "links": [
            {
                "link": row["link"],
                "quantizer": row["quantizer"],
                "q_mean": row["q_mean"],
                "bytes_up_per_round": spread(d.bytes_per_round(row["link"], "up") for d in demos),
                "bytes_down_per_round": spread(
                    d.bytes_per_round(row["link"], "down") for d in demos
                ),
            }
            for row in links
        ],
        "accuracy": [d.report["accuracy"] for d in demos],
        "model_digests": sorted({d.report["model_digest"] for d in demos}),
    }


def compare(
    demos: Sequence[Demo], floats: Sequence[Demo], tree: Sequence[Usage], plain: Sequence[Usage]
) -> dict[str, Any]:
    """Every figure that has a reference, as a ratio to it, repeat by repeat."""
    cpu = [d.cpu_seconds for d in demos]
    return {
        "float32 links / quantized links": {
            "cpu_seconds": ratios([d.cpu_seconds for d in floats], cpu),
            "seconds_per_round": ratios(
                [d.seconds_per_round for d in floats], [d.seconds_per_round for d in demos]
            ),
            "links": [
                {
                    "link": row["link"],
                    **{
                        f"bytes_{way}": ratios(
                            [d.bytes_per_round(row["link"], way) for d in floats],
                            [d.bytes_per_round(row["link"], way) for d in demos],
                        )
                        for way in ("up", "down")
                    },
                }
                for row in demos[0].report["links"]
            ],
        },
        "real processes / the same tree in one process": {
            "cpu_seconds": ratios(cpu, [u.cpu_seconds for u in tree]),
            "seconds": ratios([d.seconds for d in demos], [u.seconds for u in tree]),
        },
        "real processes / synchronous SGD in one process": {
            "cpu_seconds": ratios(cpu, [u.cpu_seconds for u in plain]),
            "seconds": ratios([d.seconds for d in demos], [u.seconds for u in plain]),
        },
    }


def main() -> int:
    """Run, compare, and judge."""
    parser = arguments_of(__doc__)
    parser.add_argument("--federation", type=Path, default=DEMO)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--broker", choices=["mosquitto", "embedded"])
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    record = Record("end_to_end", chosen)
    document = read(chosen.federation)
    plan = {"rounds": chosen.rounds, "seed": chosen.seed}
    alone = partial(one_process, chosen.federation, **plan)
    tasks: dict[str, Callable[[], Any]] = {
        "quantized": lambda: run_demo(document, broker=chosen.broker, **plan),
        "float32": lambda: run_demo(with_identity_links(document), broker=chosen.broker, **plan),
        "tree in one process": alone,
        "synchronous SGD in one process": lambda: alone("--synchronous"),
    }
    found = in_turn(tasks, repeats=chosen.repeats)
    demos, floats, tree, plain = (found[name] for name in tasks)
    digests = {json.loads(u.output[u.output.index("{") :])["results"]["model_digest"] for u in tree}
    quantized = figures_of(demos)
    results = {
        "quantized links": quantized,
        "float32 links": figures_of(floats),
        "same model as the tree in one process": digests
        == {d.report["model_digest"] for d in demos},
        "ratios": compare(demos, floats, tree, plain),
    }
    cpu = quantized["cpu_seconds"]["median"]
    gates = [
        Gate(name="CPU-seconds of the demo, all processes", value=cpu, at_most=CPU_SECONDS_MAX)
    ]
    complete = chosen.rounds is None and chosen.federation == DEMO and chosen.repeats >= 3
    return record.close(results, gates=gates, complete=complete)


if __name__ == "__main__":
    sys.exit(main())
