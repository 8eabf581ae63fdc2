"""What an operator gets wrong: the exit code, and a message that says what to do."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from small_federation import IDENTITY
from testbed import Program, Testbed, wait_until

TREE = {"cloud": ["west", "east"], "west": ["w-0", "w-1"], "east": ["e-0"]}


@pytest.fixture
def refuse(tmp_path: Path) -> Callable[..., str]:
    """Run a command that must end by itself; its log, which has no traceback in it."""

    def run(*arguments: object, code: int, deadline_s: float = 30.0) -> str:
        program = Program.fedtier(*arguments, log_path=tmp_path / "refused.log")
        try:
            found = program.exit_code(deadline_s=deadline_s)
        finally:
            program.kill()
        assert found == code, f"exit code {found}\n{program.log}"
        assert "Traceback" not in program.log, program.log
        return program.log

    return run


def edit(bed: Testbed, node: str, pattern: str, replacement: str) -> Path:
    """Change one line of a node's file."""
    file = bed.file(node)
    text, count = re.subn(pattern, lambda _: replacement, file.read_text(encoding="utf-8"))
    assert count == 1, f"{pattern} is found {count} times"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_cloud_whose_broker_is_not_there_gives_up_and_names_it(testbed, refuse):
    bed = testbed()
    bed.brokers["cloud"].kill()
    log = refuse("cloud", "run", "--config", bed.file("cloud"), code=69)
    assert bed.urls["cloud"] in log
    assert "Start it, or correct the url" in log


def test_a_device_whose_broker_is_not_there_waits_says_so_once_and_joins_later(testbed):
    bed = testbed()
    bed.brokers["west"].kill()
    bed.start("w-0")
    bed.wait_until(lambda: "broker unreachable" in bed.nodes["w-0"].log, "it says so")
    bed.restart_broker("west")
    bed.wait_until(lambda: " connected " in bed.nodes["w-0"].log, "it joins")
    (warning,) = (line for line in bed.nodes["w-0"].log.splitlines() if "unreachable" in line)
    assert "Connection refused" in warning


def test_a_port_in_use_is_named_with_the_command_that_finds_its_holder(testbed, refuse):
    bed = testbed()
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        edit(bed, "west", re.escape(bed.urls["west"]), f"mqtt://127.0.0.1:{port}")
        edit(bed, "west", r'kind\s*=\s*"url"', 'kind = "mosquitto"')
        edit(bed, "west", r"start\s*=\s*false", "start = true")
        log = refuse("gateway", "run", "--config", bed.file("west"), code=78)
    assert f"port {port} on 127.0.0.1 is in use" in log
    assert f"ss -ltnp 'sport = :{port}'" in log


def test_missing_data_are_named_with_the_command_that_makes_them(testbed, refuse, tmp_path):
    bed = testbed()
    file = edit(bed, "w-0", r'source\s*=\s*"npz-directory"\npath\s*=.*', _imu(tmp_path / "no.npz"))
    log = refuse("agent", "run", "--config", file, code=78)
    assert str(tmp_path / "no.npz") in log
    assert "fedtier.data.prepare_imu" in log


def _imu(path: Path) -> str:
    return f'source = "imu"\npath = "{path}"\nsubject = 1\nside = 0'


def test_a_device_without_a_file_in_the_directory_is_told_what_to_write(testbed, refuse, tmp_path):
    bed = testbed()
    file = edit(bed, "w-0", r'path\s*=\s*"\S*/data0"', f'path = "{tmp_path}"')
    log = refuse("agent", "run", "--config", file, code=78)
    assert str(tmp_path / "w-0.npz") in log
    assert "numpy.savez" in log


@pytest.mark.parametrize(("role", "node"), [("agent", "w-0"), ("cloud", "cloud")])
def test_a_wrong_path_to_the_artefact_is_named(testbed, refuse, tmp_path, role, node):
    bed = testbed()
    line = r"weight\s*=.*" if role == "agent" else r"artefact\s*=.*"
    file = edit(bed, node, line, f'artefact = "{tmp_path / "nowhere"}"')
    log = refuse(role, "run", "--config", file, code=78)
    assert str(tmp_path / "nowhere" / "manifest.json") in log
    assert "No such file" in log


def test_a_node_file_of_another_role_is_refused_with_the_right_command(testbed, refuse):
    bed = testbed()
    log = refuse("agent", "run", "--config", bed.file("west"), code=78)
    assert "fedtier gateway run --config" in log


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="takes a directory nobody can write to")
@pytest.mark.parametrize(("role", "node"), [("agent", "w-0"), ("gateway", "west")])
def test_a_state_directory_that_cannot_be_written_ends_the_node(testbed, role, node):
    # /proc: not even root may make a directory there.
    bed = testbed()
    bed.start("w-1", "east", "e-0")
    edit(bed, node, r"state_dir\s*=.*", 'state_dir = "/proc/fedtier"')
    bed.start(*{"w-0", "west"})
    bed.start_cloud("--out", bed.directory / "out")
    program = bed.nodes[node]
    assert program.exit_code() == 74, program.log
    assert "/proc/fedtier" in program.log
    assert "Traceback" not in program.log


def test_a_second_agent_of_one_node_file_is_refused_with_the_pid_of_the_first(
    testbed, refuse, digest_alone
):
    wanted = {"rounds": 8, "tau": (8, 2)}
    bed = testbed(**wanted)
    bed.start_fleet()
    out = bed.directory / "out"
    bed.start_cloud("--out", out)
    bed.wait_until(lambda: bed.rows(out), "a round has closed")
    first = bed.nodes["w-0"]
    log = refuse("agent", "run", "--config", bed.file("w-0"), code=78)
    assert f"{bed.directory}/state/w-0 is in use by process {first.pid}" in log
    assert " connected " not in log
    assert first.running
    assert "disconnected" not in first.log
    bed.restart("w-0")  # by SIGKILL: the kernel has released the directory
    bed.wait_until(lambda: bed.nodes["w-0"].log.count(" connected ") == 2, "it is back")
    assert bed.finished(out)["model_digest"] == digest_alone(**wanted)


@pytest.mark.parametrize(("role", "node"), [("gateway", "west"), ("cloud", "cloud")])
def test_a_parent_s_state_directory_is_its_own_as_well(testbed, refuse, role, node):
    bed = testbed()
    bed.start("west", "east", "w-1", "e-0")  # the run waits for w-0, for as long as we need
    out = bed.directory / "out"
    bed.start_cloud("--out", out)
    bed.wait_until(lambda: " connected " in bed.nodes[node].log, "it runs")
    log = refuse(role, "run", "--config", bed.file(node), code=78)
    assert f"is in use by process {bed.nodes[node].pid}" in log
    bed.start("w-0")
    bed.finished(out)


def test_of_two_parents_on_one_cell_one_ends_and_says_why(testbed):
    bed = testbed()
    bed.start("west")
    bed.wait_until(lambda: bed.nodes["west"].log.count(" connected ") == 2, "west is up")
    second = Program.fedtier(
        "gateway", "run", "--config", _copy(bed, "west"), log_path=bed.directory / "second.log"
    )
    both = (bed.nodes["west"], second)
    try:
        wait_until(lambda: any(not one.running for one in both), "one of the two ends")
        (loser,) = (one for one in both if not one.running)
        assert loser.exit_code() == 78, loser.log
        # On its cell it hears the other; towards its parent the two end each other's connections.
        assert re.search("already has a parent: boot|two machines run under one id", loser.log)
        assert "Traceback" not in loser.log
    finally:
        second.kill()


def test_a_second_cloud_gives_way_to_the_one_that_has_been_there_for_a_while(
    testbed, digest_alone, refuse
):
    wanted = {"rounds": 8, "tau": (8, 2)}
    bed = testbed(**wanted)
    bed.start_fleet()
    out = bed.directory / "out"
    bed.start_cloud("--out", out)
    bed.wait_until(lambda: bed.rows(out), "a round has closed")
    bed.nodes.pop("w-0").kill()  # the run waits for it, for as long as we need
    log = refuse("cloud", "run", "--config", _copy(bed, "cloud"), "--out", out / "2", code=78)
    assert re.search(r"already has a parent: boot [0-9a-f]{16} answered boot [0-9a-f]{16}", log)
    bed.start("w-0")
    assert bed.finished(out)["model_digest"] == digest_alone(**wanted)


def _copy(bed: Testbed, node: str) -> Path:
    """A clone of a parent's card: the same id, another boot, another state."""
    text = bed.file(node).read_text(encoding="utf-8")
    path = bed.directory / "nodes" / "clone.toml"
    path.write_text(text.replace(f"/state/{node}", "/state/clone"), encoding="utf-8")
    return path


def test_a_run_directory_is_used_once(testbed, refuse):
    bed = testbed(rounds=1)
    bed.start_fleet()
    bed.run()
    out = bed.directory / "run-1"
    log = refuse("cloud", "run", "--config", bed.file("cloud"), "--out", out, code=78)
    assert f"{out} already holds a run" in log
    assert "--out" in log


def test_an_unfinished_run_is_not_taken_up_under_another_plan(
    testbed, refuse, write_federation, digest_alone
):
    wanted = {"rounds": 40, "tau": (8, 2)}  # enough to be unfinished whenever the kill comes
    bed = testbed(**wanted)
    bed.start_fleet()
    out = bed.directory / "out"
    bed.start_cloud("--out", out)
    bed.wait_until(lambda: "round closed" in bed.nodes["cloud"].log, "a round is durable")
    bed.nodes["cloud"].kill()
    other = write_federation("other.toml", rounds=40, tau=(4, 2))
    log = refuse("cloud", "run", "--config", bed.file("cloud"), "--federation", other, code=78)
    assert "not finished" in log
    assert "another plan: tau = [8, 2] (now [4, 2]). Start" in log
    assert "--abandon" in log
    bed.start_cloud("--out", out)
    assert bed.finished(out)["model_digest"] == digest_alone(**wanted)


def test_an_unfinished_run_is_given_up_where_that_is_asked_for_and_never_by_a_restart(
    testbed, refuse, write_federation, digest_alone
):
    bed = testbed(rounds=40, tau=(8, 2))
    bed.start_fleet()
    first, out = bed.directory / "first", bed.directory / "out"
    bed.start_cloud("--out", first)
    bed.wait_until(lambda: "round closed" in bed.nodes["cloud"].log, "a round is durable")
    bed.nodes["cloud"].kill()
    wanted = {"rounds": 30, "tau": (4, 2), "seed": 3}
    other = ("--federation", write_federation("other.toml", **wanted))
    cloud = ("cloud", "run", "--config", bed.file("cloud"), *other)
    log = refuse(*cloud, "--abandon", "--out", first, code=78)
    assert "already holds a run" in log
    assert "not finished" in refuse(*cloud, "--out", out, code=78)
    program = bed.start_cloud(*other, "--abandon", "--out", out)
    abandoned = r"WARNING run abandoned +run=[0-9a-f]{16} rounds_done=[1-9]"
    durable = re.compile(abandoned + ".* round closed ", re.DOTALL)  # of the second run
    bed.wait_until(lambda: durable.search(program.log), "a round is durable")
    program.kill()
    assert "already holds a run" in refuse(*cloud, "--abandon", "--out", out, code=78)
    bed.start_cloud(*other, "--out", out)
    assert bed.finished(out)["model_digest"] == digest_alone(**wanted)


def test_parts_larger_than_the_broker_takes_are_told_with_both_numbers(testbed):
    wanted = {"links": [IDENTITY] * 2, "part_bytes": 131_072}
    bed = testbed(**wanted, options={"max_packet_size": 65_536})
    bed.start_fleet()
    cloud = bed.start_cloud("--out", bed.directory / "out")
    assert cloud.exit_code() == 78, cloud.log
    (line,) = [line for line in cloud.log.splitlines() if "65536" in line][:1]
    assert "part_bytes = 131072" in line
    assert "max_packet_size" in line


def test_another_tree_than_the_fleets_is_refused(testbed, refuse, write_federation):
    bed = testbed()
    other = write_federation("other.toml", tree={"cloud": ["west"], "west": ["w-0"]})
    log = refuse("cloud", "run", "--config", bed.file("cloud"), "--federation", other, code=78)
    assert "A new tree needs new node files" in log


@pytest.mark.parametrize("west", [["w-0"], ["w-0", "a"]], ids=["fewer", "others"])
def test_another_tree_beneath_the_cloud_s_children_is_refused_before_anything_is_trained(
    testbed, refuse, write_federation, west
):
    bed = testbed()
    bed.start_fleet()
    other = write_federation("other.toml", tree=TREE | {"west": west})
    log = refuse("cloud", "run", "--config", bed.file("cloud"), "--federation", other, code=78)
    assert "child 'west' stands for 2 devices (digest " in log
    assert f"{other} has {len(west)} device" in log
    assert "fedtier config nodes" in log
    assert "round opened" not in log
    assert "trained" not in bed.nodes["w-1"].log


def test_a_directory_for_the_run_that_cannot_be_made_ends_the_cloud(testbed, refuse):
    bed = testbed()
    bed.start_fleet()
    log = refuse("cloud", "run", "--config", bed.file("cloud"), "--out", "/proc/out", code=74)
    assert "/proc/out" in log
