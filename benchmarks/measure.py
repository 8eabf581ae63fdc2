"""What every benchmark does alike: run commands, compare them in turn, and say where it ran.

A time means nothing without its machine, and little with it. So a time is given as a ratio to a
reference that ran in the same sitting, in turn with what is measured; counts, bytes and
accuracies are given as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[1]
PRODUCT = ("fedtier", "edge_agent", "gateway", "cloud", "firmware_configs", "pyproject.toml")
PACKAGES = (
    "numpy",
    "onnxruntime",
    "torch",
    "paho-mqtt",
    "typer",
    "rich",
    "safetensors",
    "iotcore",
    "greenlet",
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a command took, from its start to its end."""

    seconds: float
    cpu_seconds: float  # of it and of every process it started and waited for
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A bound that the full benchmark must keep."""

    name: str
    value: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool:
        """Whether it is kept."""
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)

    def to_json(self) -> dict[str, Any]:
        """As it stands in a result."""
        bound = {"at_most": self.at_most, "at_least": self.at_least}
        given = {name: number for name, number in bound.items() if number is not None}
        return {"name": self.name, "value": self.value, **given, "met": self.met}


def run(command: Sequence[str], *, environment: Mapping[str, str] = {}) -> Usage:
    """Run a command in the project's directory to its end, with Python's bytecode cached.

    Raises:
        RuntimeError: If it fails; with the end of what it wrote.
    """
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    began_s = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**inherited, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(
            f"`{shlex.join(command)}` ended with code {process.returncode}:\n{output[-4000:]}"
        )
    return Usage(
        seconds=time.monotonic() - began_s,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        output=output,
    )


def in_turn(tasks: Mapping[str, Callable[[], T]], *, repeats: int) -> dict[str, list[T]]:
    """Do every task once per repeat, each time beginning with the next one.

    What disturbs the machine for a while then disturbs all of them.

    Returns:
        The results of each task, in the order of the repeats.
    """
    names = list(tasks)
    found: dict[str, list[T]] = {name: [] for name in names}
    for repeat in range(repeats):
        first = repeat % len(names)
        for name in [*names[first:], *names[:first]]:
            progress(f"repeat {repeat + 1} of {repeats}: {name}")
            found[name].append(tasks[name]())
    return found


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median and extremes of a figure over the repeats."""
    numbers = list(values)
    return {
        "median": statistics.median(numbers), "min": min(numbers), "max": max(numbers),
        "repeats": len(numbers),
    }  # fmt: skip


def ratios(values: Iterable[float], reference: Iterable[float]) -> dict[str, float]:
    """The spread of a figure over that of its reference, repeat by repeat."""
    return spread(value / other for value, other in zip(values, reference, strict=True))


def progress(line: str) -> None:
    """Tell whoever waits, without touching the result on stdout."""
    print(line, file=sys.stderr, flush=True)


# The result


def arguments_of(description: str | None) -> argparse.ArgumentParser:
    """A parser with the option every benchmark has."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="file for the result; stdout by default")
    return parser


class Record:
    """Begun before a benchmark and closed after it: the place, the time, and what came of it."""

    def __init__(self, name: str, chosen: argparse.Namespace) -> None:
        """Note the circumstances.

        Args:
            name: The benchmark's module.
            chosen: Its options.
        """
        self._out: Path | None = chosen.out
        self._document: dict[str, Any] = {
            "benchmark": name,
            "command": shlex.join(["python", "-m", f"benchmarks.{name}", *_shown(sys.argv[1:])]),
            "options": {k: _plain(v) for k, v in sorted(vars(chosen).items()) if k != "out"},
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "machine": machine(),
            "versions": versions(),
            "commit": commit(),
        }
        self._load = os.getloadavg()[0]

    def close(
        self, results: Mapping[str, Any], *, gates: Sequence[Gate] = (), complete: bool = True
    ) -> int:
        """Write the result.

        Args:
            results: The figures.
            gates: Bounds; judged only where the benchmark ran in full.
            complete: Whether it did.

        Returns:
            The exit code: 1 where it ran in full and a gate is not met.
        """
        self._document["load_average"] = {
            "before": round(self._load, 2), "after": round(os.getloadavg()[0], 2)
        }  # fmt: skip
        self._document["complete"] = complete
        self._document["results"] = results
        self._document["gates"] = [gate.to_json() for gate in gates] if complete else []
        text = json.dumps(_rounded(self._document), indent=2, ensure_ascii=False) + "\n"
        if self._out is None:
            sys.stdout.write(text)
        else:
            self._out.parent.mkdir(parents=True, exist_ok=True)
            self._out.write_text(text, encoding="utf-8")
        for gate in gates if complete else ():
            progress(f"{'met' if gate.met else 'NOT MET'}: {gate.to_json()}")
        return int(complete and not all(gate.met for gate in gates))


def machine() -> dict[str, Any]:
    """The processor, memory and system; nothing that names this very machine."""
    facts = _table(Path("/proc/cpuinfo"))
    memory = _table(Path("/proc/meminfo")).get("MemTotal", "0 kB").split()[0]
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        system = platform.system()
    return {
        "cpu": facts.get("model name") or facts.get("Model") or platform.machine(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": int(memory) // 1024,
        "system": system,
    }


def versions() -> dict[str, str]:
    """Python and the packages that matter, as installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> dict[str, Any]:
    """What was measured: the commit, and whether files of the product differed from it."""
    try:
        head = _git("rev-parse", "HEAD").strip()
        changed = bool(_git("status", "--porcelain", "--", *PRODUCT).strip())
    except (OSError, subprocess.CalledProcessError):
        return {"id": None, "changed": None}
    return {"id": head, "changed": changed}


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True
    ).stdout


def _table(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): text.strip() for name, _, text in pairs}


def _shown(arguments: Sequence[str]) -> list[str]:
    """The options as typed, without directories of this machine."""
    return [_plain(a) if "/" in a else a for a in arguments]


def _plain(value: Any) -> Any:  # noqa: ANN401 (an option of any type)
    if isinstance(value, Path) or (isinstance(value, str) and "/" in value):
        path = Path(value).resolve()
        return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def _rounded(value: Any) -> Any:  # noqa: ANN401 (a document)
    """Five significant figures: more would be noise."""
    match value:
        case bool() | int() | str() | None:
            return value
        case float():
            return float(f"{value:.5g}")
        case Mapping():
            return {key: _rounded(entry) for key, entry in value.items()}
        case _:
            return [_rounded(entry) for entry in value]
