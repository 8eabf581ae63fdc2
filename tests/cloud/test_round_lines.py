"""The lines of a run: each round once, whatever a boot that was cut off left behind."""

from __future__ import annotations

import json

import pytest

from cloud.round_lines import RoundLines
from fedtier.errors import StorageError


def row(number):
    return {"round": number, "seconds": 1.5 * (number + 1), "accuracy": 0.5}


def opened(place, *, rounds_done):
    metrics = RoundLines(place, of="round")
    metrics.drop(rounds_done)
    return metrics


@pytest.fixture
def place(tmp_path):
    return tmp_path / "metrics.jsonl"


def lines(place):
    return [json.loads(line) for line in place.read_text(encoding="utf-8").splitlines()]


def test_what_was_added_is_there_for_the_next_boot(place):
    first = opened(place, rounds_done=0)
    assert (first.rows, first.seconds) == ([], 0.0)
    for number in range(3):
        first.add(row(number))
    again = opened(place, rounds_done=3)
    assert again.rows == first.rows == lines(place) == [row(0), row(1), row(2)]
    assert again.seconds == 4.5


@pytest.mark.parametrize(
    "torn",
    [
        b'{"round": 2, "sec', b'{"round": 2', b"\0" * 40, b'{"round": 2, "x": "}', b"[2]\n",
        b'{"round": null, "seconds": 4.5}\n', b'{"round": "2", "seconds": 4.5}\n',
        b'{"round": true, "seconds": 4.5}\n', b'{"round": 2.0, "seconds": 4.5}\n',
        b'{"round": 2, "seconds": null}\n', b'{"round": 2, "seconds": "4.5"}\n',
        b'{"round": 2, "seconds": NaN}\n', b'{"round": 2, "seconds": 1' + b"0" * 400 + b"}\n",
        b'{"round": 2, "seconds": 4.5, "reason": "\xff"}\n', b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_line_that_a_power_cut_tore_is_taken_out_before_the_next_is_written(place, torn, caplog):
    first = opened(place, rounds_done=0)
    first.add(row(0))
    first.add(row(1))
    with place.open("ab") as file:
        file.write(torn)
    again = opened(place, rounds_done=2)
    again.add(row(2))
    assert lines(place) == again.rows == [row(0), row(1), row(2)]
    assert not caplog.records


def test_whole_lines_that_are_lost_with_one_that_is_not_are_told_of(place, caplog):
    text = "\n".join([json.dumps(row(0)), '{"round": "1"}', json.dumps(row(2)), ""])
    place.write_text(text, encoding="utf-8")
    assert opened(place, rounds_done=3).rows == lines(place) == [row(0)]
    (record,) = caplog.records
    assert record.getMessage() == "damaged end cut off"
    assert (record.file, record.lines) == (str(place), 2)


def test_a_round_that_is_done_again_is_written_down_once(place):
    first = opened(place, rounds_done=0)
    for number in range(3):
        first.add(row(number))
    again = opened(place, rounds_done=2)  # from the state before the last
    again.add(row(2))
    assert lines(place) == [row(0), row(1), row(2)]


def test_a_disk_that_does_not_take_a_line_is_named(tmp_path):
    metrics = opened(tmp_path / "gone" / "metrics.jsonl", rounds_done=0)
    with pytest.raises(StorageError, match=r"metrics\.jsonl cannot be written"):
        metrics.add(row(0))


def test_a_line_takes_the_place_of_those_that_are_no_earlier(place):
    """A boot wrote it, and was cut off before it had done what the line says."""
    first = opened(place, rounds_done=0)
    for number in range(3):
        first.add(row(number))
    first.add({**row(1), "accuracy": 0.25})
    assert lines(place) == first.rows == [row(0), {**row(1), "accuracy": 0.25}]
