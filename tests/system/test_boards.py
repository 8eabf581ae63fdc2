"""What a device's board does to a run: nothing to its bits, and nothing in silence."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

LONG = {"rounds": 8, "tau": (8, 2)}


def graph_process(pid: int) -> int | None:
    """The process in which an agent trains, if it runs now."""
    listings = Path(f"/proc/{pid}/task").glob("*/children")
    return next((int(child) for path in listings for child in path.read_text().split()), None)


def test_a_graph_process_killed_in_mid_run_changes_no_bit(testbed, digest_alone):
    bed = testbed(**LONG)
    bed.start_fleet()
    out = bed.directory / "out"
    bed.start_cloud("--out", out)
    agent = bed.nodes["w-0"]
    for rounds in (2, 4):
        bed.wait_until(lambda wanted=rounds: len(bed.rows(out)) >= wanted, "rounds have closed")
        bed.wait_until(lambda: graph_process(agent.pid), "it trains")
        os.kill(graph_process(agent.pid), signal.SIGKILL)
    assert len(bed.rows(out)) < LONG["rounds"], "it was killed too late"
    assert bed.finished(out)["model_digest"] == digest_alone(**LONG)
    assert agent.log.count("graph process killed  signal=SIGKILL") == 2
    assert "abstained" not in agent.log


def test_after_a_run_the_agent_has_given_its_graph_process_back(testbed):
    bed = testbed(rounds=1)
    bed.start_fleet()
    bed.run()
    agent = bed.nodes["w-0"]
    bed.wait_until(lambda: "run finished" in agent.log, "it keeps the model")
    bed.wait_until(lambda: graph_process(agent.pid) is None, "no graph process is left")


def with_board(tmp_path: Path, keys: str) -> dict[str, str]:
    """The table that gives ``w-0`` a board of its own."""
    (tmp_path / "bed").mkdir()
    text = f'name = "own"\ndescription = "of w-0"\n[board]\n{keys}\n'
    (tmp_path / "bed" / "own.toml").write_text(text, encoding="utf-8")
    return {"tables": '[[node]]\nid = "w-0"\nboard = "own.toml"'}


def test_an_update_kept_in_memory_that_was_accepted_before_a_kill_is_counted_once(
    testbed, tmp_path, digest_alone
):
    """It is computed again, and what goes with it, such as its cost, may differ by then."""
    bed = testbed(**with_board(tmp_path, 'journal = "ram"'))
    bed.start_fleet()
    west = bed.nodes["west"]
    bed.wait_until(lambda: west.log.count("member ready") == 2, "its cell is ready")
    bed.nodes["w-1"].signal(signal.SIGSTOP)  # so that the iteration stays open
    out = bed.directory / "out"
    bed.start_cloud("--out", out)
    spool = bed.directory / "state" / "west" / "spool"
    bed.wait_until(lambda: list(spool.glob("*/*/w-0")), "west holds its update")
    bed.restart("w-0")
    agent = bed.nodes["w-0"]
    bed.wait_until(lambda: "trained" in agent.log, "it has trained again")
    bed.nodes["w-1"].signal(signal.SIGCONT)
    assert bed.finished(out)["model_digest"] == digest_alone()
    assert "abstained" not in west.log


def test_a_device_that_keeps_its_updates_in_memory_is_killed_and_changes_no_bit(
    testbed, tmp_path, digest_alone
):
    bed = testbed(**LONG, **with_board(tmp_path, 'journal = "ram"'))
    bed.start_fleet()
    out = bed.directory / "out"
    bed.start_cloud("--out", out)
    bed.wait_until(lambda: len(bed.rows(out)) >= 2, "two rounds have closed")
    bed.restart("w-0")
    assert len(bed.rows(out)) < LONG["rounds"], "it was killed too late"
    assert bed.finished(out)["model_digest"] == digest_alone(**LONG)
    trained = [line for line in bed.nodes["w-0"].log.splitlines() if " trained " in line]
    assert trained
    assert all(line.endswith("disk_bytes=0") for line in trained)
    assert not list(bed.directory.glob("**/w-0/outbox.record"))
    assert list(bed.directory.glob("**/w-1/outbox.record"))


def other_hours() -> str:
    """A window that is not now, nor within the next hours."""
    now = time.localtime()
    return f"{(now.tm_hour + 12) % 24:02}:00-{(now.tm_hour + 13) % 24:02}:00"


def test_a_device_outside_its_hours_waits_once_a_round_then_abstains_and_says_why(
    testbed, tmp_path
):
    hours = f'hours = ["{other_hours()}"]\npatience_s = 0.5'
    bed = testbed(**with_board(tmp_path, hours))
    bed.start_fleet()
    report = bed.run()
    (link, _) = report["links"]
    assert link["abstained"] == 2 * 2  # 2 rounds of 2 iterations; the others trained
    log = bed.nodes["w-0"].log
    assert log.count("waiting for the board") == 1
    assert log.count(f"is not in {other_hours()}") >= 4  # every abstention says why
    assert "trained" not in log
