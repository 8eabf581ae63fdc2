"""What a probe prints: a profile that loads as it stands, figures for people, and as JSON."""

from __future__ import annotations

import json
import platform
import tomllib
from dataclasses import replace

import pytest
from probe_findings import BOARD, NOT_OFFERED, ROW, findings

from edge_agent.probe.board import this_board
from edge_agent.probe.findings import Missing, NoSteps
from edge_agent.probe.profile import one_thread, profile_of
from edge_agent.probe.screen import screen_of
from fedtier.config.board import load_board


def test_a_profile_is_loaded_as_any_boards_is(tmp_path):
    path = tmp_path / "pear.toml"
    path.write_text(profile_of(findings()), encoding="utf-8")
    board = load_board(str(path))
    assert board.measured is True
    assert board.name == "pear-computer-3-model-b"
    assert board.description == "Pear Computer 3 Model B: 4 cores, 905 MiB, aarch64"
    assert (board.board.threads, board.board.batch_max) == (1, 32)
    # What the two processes held at their peaks, 31.4 + 75.9, up to the next 32.
    assert board.board.memory_budget_mib == 128


def test_a_profile_tells_what_its_numbers_come_from():
    text = profile_of(findings())
    assert "12.50 ms a step; 4 threads: 5.50, no longer bit-exact" in text
    assert "this process 31 and graph process 76 at their peaks" in text
    assert "The hottest zone reached 63 °C" in text
    assert "virtual" not in text


UNTIMED = NoSteps(lowering="gemm", threads=2, why="there was no time")


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([], "12.50 ms a step\n"),
        ([UNTIMED], "12.50 ms a step; more threads: not measured\n"),
        ([replace(ROW, lowering="taps", threads=2, median_ms=3.0)], "more threads: not measured\n"),
        ([replace(ROW, threads=2, median_ms=13.0), replace(UNTIMED, threads=4)],
         "12.50 ms a step; 2 threads are no faster\n"),
        ([replace(ROW, threads=2, median_ms=13.0), replace(ROW, threads=4)],
         "12.50 ms a step; 2 or 4 threads are no faster\n"),
    ],
    ids=["one core", "no time", "another lowering", "two of four", "all"],
)  # fmt: skip
def test_of_more_threads_a_profile_claims_only_what_was_timed(others, said):
    assert said in profile_of(findings(steps=[ROW, *others]))


def test_the_fastest_lowering_is_that_of_those_timed():
    timed = [ROW, replace(ROW, lowering="taps", median_ms=9.75)]
    untimed = NoSteps(lowering="columns", threads=1, why="there was no time")
    assert "On one thread taps is fastest" in screen_of(findings(steps=timed))
    shown = screen_of(findings(steps=[*timed, untimed]))
    assert "On one thread of the 2 timed taps is fastest" in shown


def test_the_budget_of_a_node_that_serves_counts_the_process_for_it():
    text = profile_of(findings(serving_mib=71.6))
    # 31.4 + 75.9 + 71.6, up to the next 32
    assert "memory_budget_mib = 192" in text
    assert "this process 31, graph process 76 and serving 72 at their peaks" in text
    text = profile_of(findings(serving_mib=Missing("not measured")))
    assert "memory_budget_mib = 128" in text
    assert "this process 31 and graph process 76 at their peaks; serving: not measured" in text


@pytest.mark.parametrize("model", ['Quo"ted \\ 5', "日本", "x" * 200, "Two  words ", "a\x7fb"])
def test_whatever_a_board_calls_itself_a_profile_can_be_read(model):
    profile_of(findings(board=replace(BOARD, model=model)))


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("Pear Computer 3\0", "Pear Computer 3"),
        ("Pear\0\0\n 3\x7f\x1b[2J\u2028", "Pear 3 [2J"),
        ("\0\n", platform.machine()),
    ],
)
def test_a_boards_own_words_are_one_printable_line(tmp_path, model, shown):
    path = tmp_path / "device-tree" / "model"
    path.parent.mkdir()
    path.write_text(model, encoding="utf-8")
    assert this_board(proc=tmp_path).model == shown


def test_what_is_more_than_a_profile_may_say_is_left_out_of_it():
    huge = findings(batch=2_000_000, steps=[replace(ROW, peak_mib=2e6)])
    board = tomllib.loads(profile_of(huge))["board"]
    assert set(board) == {"threads", "nice"}
    assert "# batch_max: 2000000, and a profile may say 1000000 at most." in profile_of(huge)


def test_a_profile_from_a_virtual_machine_says_so():
    assert "in a virtual machine" in profile_of(findings(board=replace(BOARD, virtual=True)))


def test_there_is_no_profile_without_steps_on_one_thread():
    assert one_thread(findings(steps=[NoSteps(lowering="gemm", threads=1, why="no time")])) is None
    assert one_thread(findings(steps=[replace(ROW, threads=2)])) is None


def test_all_figures_are_on_the_screen_within_80_columns():
    shown = screen_of(findings())
    assert max(map(len, shown.splitlines())) <= 80
    for figure in (
        "Pear Computer 3 Model B", "4 cores, 905 MiB", "9.5 MiB/s", "slowest 310 ms",
        "round trip 4.21 ms", "2.50 MiB/s each way", "1.234 ms for one example",
        "12.40 ms at first, 14.90 at last", "41.5 to 62.5 °C in 58 s (+21.0), at most 63.0",
        "37.5 mJ a step, 3.00 W, by battery", "memory: there was none",
        'On one thread taps is fastest: a plan names it as lowering = "taps".',
    ):  # fmt: skip
        assert figure in shown


def test_what_is_not_offered_is_said_in_its_place():
    missing = dict.fromkeys(("disk", "link", "inference", "sustained"), NOT_OFFERED)
    assert screen_of(findings(**missing)).count("not offered: no such file") == 4
    assert findings(**missing).to_json()["disk"] == {"why": "not offered: no such file"}


def test_the_json_has_every_figure_to_five_places_and_the_drift():
    document = json.loads(json.dumps(findings().to_json()))
    assert document["probe"] == 1
    assert document["steps"][0]["median_ms"] == 12.5
    assert document["sustained"]["temperature_c"]["drift"] == 21.0
    assert document["disk"]["bytes_per_s"] == 9961500.0  # of 9961472
