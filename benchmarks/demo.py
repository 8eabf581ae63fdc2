"""``fedtier demo`` as benchmarks run it: real processes, and what they leave behind."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.federations import Document, text_of
from benchmarks.measure import run

KINDS = {0: "device", 1: "gateway"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """One run of the demo."""

    seconds: float  # from the start of the command to its end
    cpu_seconds: float  # of the command, all nodes and all brokers
    report: dict[str, Any]
    rounds: list[dict[str, Any]]  # the lines of metrics.jsonl

    @property
    def seconds_per_round(self) -> float:
        """From the close of one round to the close of the next, on average."""
        if len(self.rounds) == 1:
            return float(self.rounds[0]["seconds"])
        return _slope([row["seconds"] for row in self.rounds])

    def bytes_per_round(self, link: int, direction: str) -> float:
        """What the sockets of a link carried from one round to the next, on average.

        Figures ride in updates, so a round's last update is counted in the next, and what came
        before the first round's close (connecting, the first model) is left out. A run of one
        round is given by its total.

        Args:
            link: 1 to N.
            direction: ``up`` or ``down``.
        """
        key = f"bytes_{direction}"
        if len(self.rounds) == 1:
            return float(self.report["links"][link - 1][key])
        return _slope([row["links"][link - 1][key] for row in self.rounds])

    def peak_rss_bytes(self, kind: str) -> int:
        """The largest peak memory of a kind of node."""
        return max(int(n["peak_rss_bytes"]) for n in self.report["nodes"] if self._kind(n) == kind)

    def cpu_seconds_of(self, kind: str) -> float:
        """Processor time of all nodes of a kind."""
        return sum(float(n["cpu_seconds"]) for n in self.report["nodes"] if self._kind(n) == kind)

    def _kind(self, node: dict[str, Any]) -> str:
        return "cloud" if node["tier"] == self.report["tiers"] else KINDS[min(node["tier"], 1)]


def _slope(values: Sequence[float]) -> float:
    return (values[-1] - values[0]) / (len(values) - 1)


def run_demo(
    document: Document, *, rounds: int | None, seed: int | None, broker: str | None
) -> Demo:
    """Run ``fedtier demo`` on a federation, in a directory that is removed afterwards.

    Raises:
        RuntimeError: If it fails.
    """
    with tempfile.TemporaryDirectory(prefix="fedtier-benchmark-") as scratch:
        file, out = Path(scratch) / "federation.toml", Path(scratch) / "run"
        file.write_text(text_of(document), encoding="utf-8")
        command = [sys.executable, "-m", "fedtier", "demo", "--federation", str(file)]
        options = {"--out": out, "--rounds": rounds, "--seed": seed, "--broker": broker}
        for name, value in options.items():
            command += [name, str(value)] if value is not None else []
        used = run(command)
        report = json.loads((out / "report.json").read_bytes())
        lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return Demo(
            seconds=used.seconds,
            cpu_seconds=used.cpu_seconds,
            report=report,
            rounds=[json.loads(line) for line in lines],
        )
