"""``fedtier demo``: every way it can end, and that none leaves a process behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_report import check_report
from testbed import Program, all_gone, descendants, wait_until

LONG = {"rounds": 500, "tau": (16, 2)}
PROCESSES = 6 + 3  # nodes and brokers of the small federation


class Demo:
    """A demo under way."""

    def __init__(
        self, out: Path, federation: Path, *options: str, log: Path, **environment: str
    ) -> None:
        self.out = out
        self.program = Program.fedtier(
            "demo", "--federation", federation, "--out", out, "--broker", "mosquitto", *options,
            log_path=log, environment=environment,
        )  # fmt: skip
        self.pids: set[int] = set()

    def running(self) -> set[int]:
        """The processes it has started, now."""
        found = descendants(self.program.pid)
        self.pids |= found
        return found

    def wait_for_all(self) -> None:
        self._wait(lambda: len(self.running()) >= PROCESSES, "all processes run")

    def wait_for_rounds(self, count: int) -> None:
        metrics = self.out / "metrics.jsonl"
        self._wait(
            lambda: metrics.exists() and metrics.read_bytes().count(b"\n") >= count,
            f"{count} rounds have closed",
        )
        self.running()

    def _wait(self, condition: Callable[[], object], what: str) -> None:
        wait_until(lambda: condition() or not self.program.running, what)
        assert self.program.running, self.program.log

    def pid_of(self, *words: str) -> int:
        """The process with these words on its command line."""
        for pid in self.running():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
            except OSError:
                continue
            if all(word in line for word in words):
                return pid
        raise AssertionError(f"no process with {words}")


@pytest.fixture
def demo(
    tmp_path: Path, write_federation: Callable[..., Path], mosquitto_binary: str
) -> Iterator[Callable[..., Demo]]:
    made: list[Demo] = []

    def start(*options: str, environment: dict[str, str] | None = None, **wanted: object) -> Demo:
        file = write_federation("given.toml", **wanted)
        made.append(
            Demo(tmp_path / "out", file, *options, log=tmp_path / "demo.log", **(environment or {}))
        )
        return made[-1]

    yield start
    for one in made:
        one.program.kill()
        wait_until(lambda one=one: all_gone(one.pids), "nothing of the demo is left", deadline_s=10)


@pytest.mark.parametrize("broker", ["mosquitto", "embedded"])
def test_a_demo_trains_shows_its_tables_and_writes_what_the_processes_used(
    demo, digest_alone, broker
):
    one = demo("--broker", broker)
    assert one.program.exit_code() == 0, one.program.log
    report = json.loads((one.out / "report.json").read_bytes())
    check_report(report)
    assert report["model_digest"] == digest_alone()
    assert [node["id"] for node in report["nodes"]] == [
        "cloud",
        "e-0",
        "east",
        "w-0",
        "w-1",
        "west",
    ]
    assert all(node["peak_rss_bytes"] > 2**24 for node in report["nodes"])
    assert all(node["cpu_seconds"] > 0.1 for node in report["nodes"])
    for title in ("Links", "Processes", "Accuracy"):
        assert title in one.program.log
    assert report["links"][0]["quantizer"] in one.program.log


@pytest.mark.parametrize("moment", ["starting", "all are up", "training"])
def test_ctrl_c_stops_every_process_within_five_seconds(demo, moment):
    one = demo(**LONG)
    if moment == "starting":
        wait_until(lambda: len(one.running()) >= 2, "the first processes run")
    elif moment == "all are up":
        one.wait_for_all()
    else:
        one.wait_for_rounds(1)
    one.program.signal(signal.SIGINT)
    assert one.program.exit_code(deadline_s=5 + 1) == 130, one.program.log
    assert all_gone(one.pids | one.running())
    assert "Traceback" not in one.program.log
    assert "stopped" in one.program.log


@pytest.mark.parametrize("moment", ["starting", "training"])
def test_sigterm_stops_every_process_as_well(demo, moment):
    one = demo(**LONG)
    if moment == "starting":
        wait_until(lambda: len(one.running()) >= 2, "the first processes run")
    else:
        one.wait_for_rounds(1)
    one.program.signal(signal.SIGTERM)
    assert one.program.exit_code(deadline_s=5 + 1) == 143, one.program.log
    assert all_gone(one.pids)
    assert "Traceback" not in one.program.log


def test_a_demo_that_is_killed_takes_everything_with_it(demo):
    one = demo(**LONG)
    one.wait_for_rounds(1)
    # Those of the three devices that run their graphs come and go.
    assert PROCESSES <= len(one.pids) <= PROCESSES + 3
    one.program.signal(signal.SIGKILL)
    wait_until(lambda: all_gone(one.pids), "all are gone", deadline_s=5)


def test_a_cloud_that_is_stopped_from_outside_does_not_pass_for_done(demo):
    one = demo(**LONG)
    one.wait_for_rounds(1)
    os.kill(one.pid_of("nodes/cloud.toml"), signal.SIGTERM)
    assert one.program.exit_code(deadline_s=15) == 143
    assert "cloud ended with code 143" in one.program.log
    assert "Traceback" not in one.program.log
    assert all_gone(one.pids)


@pytest.mark.parametrize("victim", ["w-0", "east", "cloud"])
def test_a_node_that_dies_is_named_with_the_last_lines_of_its_log(demo, victim):
    one = demo(**LONG)
    one.wait_for_rounds(1)
    os.kill(one.pid_of(f"nodes/{victim}.toml"), signal.SIGKILL)
    assert one.program.exit_code(deadline_s=15) == 70
    assert f"{victim} was killed by SIGKILL" in one.program.log
    assert " connected " in one.program.log  # a line of the victim's own
    assert "Traceback" not in one.program.log
    assert all_gone(one.pids)


def test_a_broker_that_dies_is_named(demo):
    one = demo(**LONG)
    one.wait_for_rounds(1)
    os.kill(one.pid_of("mosquitto", "brokers/west"), signal.SIGKILL)
    assert one.program.exit_code(deadline_s=15) == 70
    assert "the broker of west ended" in one.program.log
    assert all_gone(one.pids)


def test_a_node_that_cannot_start_is_shown_with_what_it_said(demo, tmp_path, data_dir):
    one = demo(tree={"cloud": ["west"], "west": ["w-0", "lost"]}, **LONG)
    assert one.program.exit_code() == 78, one.program.log
    assert "lost" in one.program.log
    assert "numpy.savez" in one.program.log
    assert all_gone(one.pids)


def test_a_directory_in_use_is_refused_before_anything_starts(demo, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("mine")
    one = demo()
    assert one.program.exit_code() == 78
    assert "is not empty. Choose a new directory" in one.program.log
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["letter.txt"]


def test_a_directory_that_cannot_be_made_is_a_fault_of_the_disk(write_federation, tmp_path):
    one = Demo(Path("/proc/fedtier"), write_federation(), log=tmp_path / "demo.log")
    assert one.program.exit_code() == 74, one.program.log
    assert "/proc/fedtier cannot be made" in one.program.log
