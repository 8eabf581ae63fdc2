"""Whoever is killed and started again, the run ends in the same model, to the bit."""

from __future__ import annotations

import re
import signal

import pytest
from testbed import Testbed

# Enough rounds that nobody is through before the test strikes; what counts is asserted each time.
LONG = {"rounds": 8, "tau": (8, 2)}


def _start(bed: Testbed) -> None:
    bed.start_fleet()
    bed.start_cloud("--out", bed.directory / "out")
    bed.wait_until(lambda: len(bed.rows(bed.directory / "out")) >= 2, "two rounds have closed")


def _finish(bed: Testbed) -> str:
    digest: str = bed.finished(bed.directory / "out")["model_digest"]
    return digest


@pytest.mark.parametrize("victim", ["w-0", "west", "cloud"])
def test_a_node_killed_in_mid_run_and_restarted_changes_nothing(testbed, digest_alone, victim):
    bed = testbed(**LONG)
    _start(bed)
    out = ("--out", bed.directory / "out") if victim == "cloud" else ()
    bed.restart(victim, *out)
    assert len(bed.rows(bed.directory / "out")) < LONG["rounds"], "it was killed too late"
    assert _finish(bed) == digest_alone(**LONG)
    rounds = [row["round"] for row in bed.rows(bed.directory / "out")]
    assert rounds == sorted(set(rounds)), "a round is written down once"


def test_a_cloud_killed_in_its_first_round_begins_again(testbed, digest_alone):
    bed = testbed()
    bed.start_fleet()
    out = bed.directory / "out"
    bed.wait_until(lambda: bed.nodes["west"].log.count("member ready") == 2, "west's cell is ready")
    bed.nodes["w-0"].signal(signal.SIGSTOP)  # so that the round stays open
    bed.start_cloud("--out", out)
    bed.wait_until(lambda: "round opened" in bed.nodes["cloud"].log, "the round is open")
    bed.restart("cloud", "--out", out)
    bed.nodes["w-0"].signal(signal.SIGCONT)
    assert bed.finished(out)["model_digest"] == digest_alone()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_cloud_that_is_stopped_says_that_it_was_not_done_and_goes_on_later(
    testbed, digest_alone, number, code
):
    bed = testbed(**LONG)
    _start(bed)
    cloud = bed.nodes["cloud"]
    cloud.signal(number)
    assert cloud.exit_code(deadline_s=20) == code, cloud.log
    assert re.search(f"stopped +exit_code={code}$", cloud.log, re.MULTILINE)
    assert "Traceback" not in cloud.log
    bed.start_cloud("--out", bed.directory / "out")
    assert _finish(bed) == digest_alone(**LONG)


def test_with_a_quorum_a_run_ends_without_the_device_that_stays_away(testbed):
    bed = testbed(**LONG, plan='quorum = [1, "all"]\ndeadline_s = [1.0, "none"]')
    _start(bed)
    bed.nodes["w-1"].signal(signal.SIGSTOP)  # it is there, and so a member, but does not answer
    west = bed.nodes["west"]
    bed.wait_until(lambda: "answered=1 members=2" in west.log, "an iteration closes without it")
    bed.nodes.pop("w-1").kill()
    report = bed.finished(bed.directory / "out")
    assert report["rounds"] == LONG["rounds"]
    assert report["links"][0]["lost"] >= 1
    assert report["links"][1]["lost"] == 0


def test_a_gateway_killed_with_an_update_in_its_spool_asks_for_no_second_one(testbed, digest_alone):
    bed = testbed(**LONG)
    bed.start_fleet()
    spool = bed.directory / "state" / "west" / "spool"
    bed.start_cloud("--out", bed.directory / "out")
    bed.wait_until(lambda: bed.rows(bed.directory / "out"), "a round has closed")
    bed.nodes["w-1"].signal(signal.SIGSTOP)  # so that the iteration stays open
    bed.wait_until(lambda: list(spool.glob("*/*/w-0")), "the update of w-0 in the spool")
    bed.nodes["west"].kill()
    kept = {path: path.read_bytes() for path in spool.glob("*/*/w-0")}
    bed.start("west")
    bed.wait_until(
        lambda: bed.nodes["west"].log.count("connected ") >= 4, "west is back on both sides"
    )
    assert {path: path.read_bytes() for path in kept} == kept
    bed.nodes["w-1"].signal(signal.SIGCONT)
    assert _finish(bed) == digest_alone(**LONG)


@pytest.mark.parametrize("cell", ["cloud", "west"])
def test_a_broker_killed_and_restarted_changes_nothing(testbed, digest_alone, cell):
    bed = testbed(**LONG)
    _start(bed)
    bed.restart_broker(cell)
    assert len(bed.rows(bed.directory / "out")) < LONG["rounds"], "it was killed too late"
    assert _finish(bed) == digest_alone(**LONG)


def test_every_node_killed_at_once_goes_on_where_it_was(testbed, digest_alone):
    bed = testbed(**LONG)
    _start(bed)
    for node in bed.nodes.values():
        node.kill()
    for parent in bed.topology.parents():
        bed.restart_broker(parent)
    bed.start_fleet()
    bed.start_cloud("--out", bed.directory / "out")
    assert _finish(bed) == digest_alone(**LONG)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_standing_nodes_leave_when_they_are_told_to(testbed, number, code):
    bed = testbed()
    bed.start("w-0", "west")
    bed.wait_until(
        lambda: all(" connected " in node.log for node in bed.nodes.values()), "both are connected"
    )
    for node in bed.nodes.values():
        node.signal(number)
        assert node.exit_code(deadline_s=10) == code, node.log
        assert "Traceback" not in node.log


@pytest.mark.parametrize("broker", ["reachable", "gone"])
def test_a_device_leaves_in_mid_training_and_comes_back(testbed, digest_alone, broker):
    bed = testbed(**LONG)
    _start(bed)
    if broker == "gone":
        bed.brokers["west"].kill()
    bed.nodes["w-0"].signal(signal.SIGTERM)
    assert bed.nodes["w-0"].exit_code(deadline_s=20) == 0
    if broker == "gone":
        bed.restart_broker("west")
    bed.start("w-0")
    assert _finish(bed) == digest_alone(**LONG)
