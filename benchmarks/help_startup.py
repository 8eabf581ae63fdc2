"""How much ``fedtier --help`` costs beside a Typer program that does nothing.

Both run in turn, many times, each in a fresh process with its bytecode cached::

    python -m benchmarks.help_startup --out benchmarks/results/help_startup.json
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial

from benchmarks.measure import Gate, Record, arguments_of, in_turn, ratios, run, spread

RATIO_MAX = 1.5
_REPEATS = 21


def main() -> int:
    """Measure and judge."""
    parser = arguments_of(__doc__)
    parser.add_argument("--repeats", type=int, default=_REPEATS)
    chosen = parser.parse_args()
    record = Record("help_startup", chosen)
    with tempfile.TemporaryDirectory(prefix="fedtier-benchmark-") as cache:
        environment = {"PYTHONPYCACHEPREFIX": cache, "COLUMNS": "100"}
        tasks = {
            "fedtier": partial(run, _help_of("fedtier.cli"), environment=environment),
            "bare": partial(run, _help_of("benchmarks.bare_program"), environment=environment),
        }
        for task in tasks.values():  # fills the cache
            task()
        found = in_turn(tasks, repeats=chosen.repeats)
    cpu = {name: [used.cpu_seconds for used in each] for name, each in found.items()}
    ratio = ratios(cpu["fedtier"], cpu["bare"])
    results = {
        "ratio of CPU-seconds": ratio,
        "cpu_seconds": {name: spread(values) for name, values in cpu.items()},
    }
    gates = [Gate(name="fedtier --help / bare Typer", value=ratio["median"], at_most=RATIO_MAX)]
    return record.close(results, gates=gates, complete=chosen.repeats >= _REPEATS)


def _help_of(module: str) -> list[str]:
    """As an installed script does it: import the app, call it."""
    call = "main" if module == "fedtier.cli" else "app"
    program = f"import sys; from {module} import {call}; sys.argv[1:] = ['--help']; {call}()"
    return [sys.executable, "-c", program]


if __name__ == "__main__":
    sys.exit(main())
