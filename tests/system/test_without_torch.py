"""Whoever does not write models needs no torch: the demo runs where it cannot be imported."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from testbed import Program, descendants, wait_until

NODES = 1 + 6 + 16  # of the shipped federation
ROUNDS = 2

# Every Python process imports this when it starts: it leaves a note with its command line, and
# another for every import of torch, which it refuses.
SITE = """
    import os, pathlib, sys

    NOTES = pathlib.Path(os.environ["TORCH_NOTES"])

    def note(kind, text):
        with open(NOTES / f"{kind}-{os.getpid()}", "a") as file:
            file.write(text + chr(10))

    class NoTorch:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name.partition(".")[0] == "torch":
                note("asked", name)
                raise ImportError("a device has no torch")
            return None

    sys.meta_path.insert(0, NoTorch)
    note("started", pathlib.Path("/proc/self/cmdline").read_text().replace(chr(0), " "))
"""


class Notes:
    """What the processes have noted."""

    def __init__(self, directory: Path) -> None:
        site, self._directory = directory / "site", directory / "notes"
        for place in (site, self._directory):
            place.mkdir()
        (site / "sitecustomize.py").write_text(textwrap.dedent(SITE), encoding="utf-8")
        self.environment = {"PYTHONPATH": str(site), "TORCH_NOTES": str(self._directory)}

    def of(self, kind: str) -> list[str]:
        return [path.read_text() for path in sorted(self._directory.glob(f"{kind}-*"))]


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


@pytest.fixture
def demo(tmp_path: Path, notes: Notes, mosquitto_binary: str) -> Iterator[Program]:
    """The shipped demo with all its processes, for a few rounds."""
    program = Program.fedtier(
        "demo", "--rounds", ROUNDS, "--out", tmp_path / "out", "--broker", "mosquitto",
        log_path=tmp_path / "demo.log", environment=notes.environment,
    )  # fmt: skip
    yield program
    program.kill()


def test_the_whole_demo_trains_where_import_torch_raises(demo, notes, tmp_path):
    loaded: dict[int, str] = {}  # process -> the first file of torch's it has mapped

    def ended() -> bool:
        for pid in descendants(demo.pid):
            try:
                maps = Path(f"/proc/{pid}/maps").read_text()
            except OSError:
                continue  # it has ended
            of_torch = [line for line in maps.splitlines() if "/torch/" in line]
            if of_torch:
                loaded[pid] = of_torch[0]
        return not demo.running

    wait_until(ended, "the demo ends", deadline_s=240)
    assert demo.exit_code() == 0, demo.log
    report = json.loads((tmp_path / "out" / "report.json").read_bytes())
    assert (report["rounds"], len(report["nodes"])) == (ROUNDS, NODES)
    assert report["accuracy"] > 1 / 7  # of seven exercises: it has learned something
    started = notes.of("started")
    for process, count in (("edge_agent ", 16), ("gateway run", 6), ("cloud run", 1)):
        assert sum(process in line for line in started) == count, started
    assert sum("edge_agent.graph_main" in line for line in started) >= 16
    assert notes.of("asked") == []  # nobody as much as tried
    assert loaded == {}


def test_a_process_that_asks_for_torch_would_be_seen(notes, tmp_path):
    """Of the test above: what it looks for is there when torch is imported."""
    program = Program(
        [sys.executable, "-c", "import torch.nn"],
        tmp_path / "asks.log",
        environment=notes.environment,
    )
    assert program.exit_code() == 1
    assert "a device has no torch" in program.log
    assert notes.of("asked") == ["torch\n"]
