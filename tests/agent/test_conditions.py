"""Under which conditions of its board a device begins to work."""

from __future__ import annotations

import dataclasses
import time

import pytest

from edge_agent.board_reading import Reading, read_board
from edge_agent.conditions import Hindrance, check_shown, hindrance
from fedtier.config.board import BoardTable, parse_board
from fedtier.errors import ConfigError

WELL = Reading(
    minute=12 * 60, memory_total_mib=427.0, memory_free_mib=200.0, resident_mib=41.0,
    temperature_c=55.0, load=0.4,
)  # fmt: skip
ALL = BoardTable(
    memory_budget_mib=160, memory_free_mib=100, temperature_max_c=70, load_max=2, power="mains",
    battery_min_percent=40, hours=("11:30-12:30", "22:00-06:00"),
)  # fmt: skip


def found(board=ALL, *, needed_mib=1.0, **changed):
    return hindrance(board, dataclasses.replace(WELL, **changed), needed_mib=needed_mib)


def test_a_board_that_is_well_may_work_and_one_without_conditions_always():
    assert found() is None
    nothing = Reading(minute=0, on_mains=False, battery_percent=1)
    assert hindrance(BoardTable(), nothing, needed_mib=1.0) is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"memory_free_mib": 99.0}, "memory: 99 MiB free, less than 100 MiB"),
        ({"temperature_c": 71.0}, "temperature: 71 °C, more than 70 °C"),
        ({"temperature_c": None}, "temperature: the board shows none any more"),
        ({"load": 2.1}, "load: 2.1, more than 2"),
        ({"on_mains": False}, "power: on battery"),
        ({"battery_percent": 39}, "battery: 39 %, less than 40 %"),
        ({"minute": 6 * 60}, "hours: 06:00 is not in 11:30-12:30, 22:00-06:00"),
    ],
)
def test_each_condition_that_does_not_hold_is_a_reason_to_wait(changed, reason):
    assert found(**changed) == Hindrance(reason, lasting=False)


@pytest.mark.parametrize(
    "changed",
    [
        {"memory_free_mib": 100.0}, {"temperature_c": 70.0}, {"load": 2.0},
        {"battery_percent": 40}, {"battery_percent": None},
        {"minute": 22 * 60}, {"minute": 0}, {"minute": 5 * 60 + 59}, {"minute": 11 * 60 + 30},
    ],
)  # fmt: skip
def test_a_bound_itself_is_allowed(changed):
    assert found(**changed) is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            {"resident_mib": 161.0},
            "memory: 161 MiB resident, the board's budget is 160 MiB",
        ),
        (
            {"needed_mib": 120.0},
            "memory: 41 MiB resident and 120 MiB or more for the model, the board's budget is 160",
        ),
        ({"needed_mib": 428.0}, "memory: the model takes 428 MiB or more, the board has 427"),
        ({"memory_total_mib": 99.0}, "memory: 100 MiB free are asked for, the board has 99"),
    ],
)
def test_work_that_cannot_ever_fit_is_not_waited_for_whatever_else_hinders(given, reason):
    outcome = found(**{"temperature_c": 99.0} | given)
    assert outcome.lasting
    assert outcome.reason.startswith(reason)


@pytest.mark.parametrize(
    ("key", "missing"),
    [("temperature_max_c", "temperature_c"), ("load_max", "load"),
     ("memory_free_mib", "memory_free_mib")],
)  # fmt: skip
def test_a_condition_on_what_the_board_does_not_show_is_refused_at_start(key, missing):
    check_shown(ALL, WELL, where="agent.toml")
    check_shown(BoardTable(), dataclasses.replace(WELL, **{missing: None}), where="agent.toml")
    with pytest.raises(ConfigError, match=rf"agent.toml: \[board\] {key} = \d+, but /.* Remove"):
        check_shown(ALL, dataclasses.replace(WELL, **{missing: None}), where="agent.toml")


@pytest.mark.parametrize("window", ["24:00-06:00", "22:00", "6:00-7:00", "22:00-22:00", "a"])
def test_hours_that_are_no_time_of_the_day_are_refused(window):
    text = f'name = "b"\ndescription = "b"\n[board]\nhours = ["22:00-06:00", "{window}"]'
    with pytest.raises(ConfigError, match=rf'b\.toml: \[board\] hours holds "{window}"'):
        parse_board(text, where="b.toml")


# Reading: directories of plain files in the form the kernel gives them


def write(directory, files):
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="ascii")


LOCAL = time.struct_time((2026, 1, 2, 21, 5, 0, 4, 2, 0))


def read(tmp_path, files):
    write(tmp_path, files)
    return read_board(proc=tmp_path / "proc", sys=tmp_path / "sys", local=LOCAL)


def test_memory_load_time_and_the_hottest_zone_are_read(tmp_path):
    files = {
        "proc/meminfo": "MemTotal:         437248 kB\nMemFree:  1 kB\nMemAvailable:  102400 kB",
        "proc/loadavg": "0.52 0.58 0.59 1/467 12345",
        "proc/self/statm": "30000 2560 1000 1 0 9000 0",
        "sys/class/thermal/thermal_zone0/temp": "48312",
        "sys/class/thermal/thermal_zone1/temp": "61000",
        "sys/class/thermal/cooling_device0/cur_state": "9",
    }
    reading = read(tmp_path, files)
    assert reading == Reading(
        minute=21 * 60 + 5, memory_total_mib=427.0, memory_free_mib=100.0,
        resident_mib=reading.resident_mib, temperature_c=61.0, load=0.52, on_mains=True,
    )  # fmt: skip
    assert reading.resident_mib in (10.0, 40.0, 160.0)  # 2560 pages of 4, 16 or 64 KiB


def test_a_board_that_shows_nothing_is_on_mains_and_else_unknown(tmp_path):
    assert read(tmp_path, {}) == Reading(minute=21 * 60 + 5)


@pytest.mark.parametrize(
    "nonsense",
    ["", "hot", "-2147483648", "-274000", "2147483647", "9" * 19, "9" * 400, "9" * 5000],
    ids=lambda text: text[:12] or "no answer",
)
def test_a_zone_without_an_answer_is_passed_over(tmp_path, nonsense):
    files = {
        f"sys/class/thermal/thermal_zone{n}/temp": t for n, t in enumerate((nonsense, "40000"))
    }
    assert read(tmp_path, files).temperature_c == 40.0


@pytest.mark.parametrize("number", ["9" * 400, "9" * 5000, "-" + "9" * 400, "x"], ids=len)
def test_a_number_that_the_kernel_cannot_mean_is_not_shown(tmp_path, number):
    files = {
        "proc/meminfo": f"MemTotal: {number} kB\nMemAvailable: {number} kB",
        "proc/self/statm": f"{number} {number}",
        "sys/class/power_supply/BAT0/type": "Battery",
        "sys/class/power_supply/BAT0/status": "Full",
        "sys/class/power_supply/BAT0/capacity": number,
    }
    assert read(tmp_path, files) == Reading(minute=21 * 60 + 5)


BATTERY = {"BAT0/type": "Battery", "BAT0/status": "Discharging", "BAT0/capacity": "73"}


@pytest.mark.parametrize(
    ("supplies", "on_mains", "percent"),
    [
        ({}, True, None),
        (BATTERY, False, 73),
        (BATTERY | {"BAT0/status": "Charging"}, True, 73),
        (BATTERY | {"AC/type": "Mains", "AC/online": "1"}, True, 73),
        (BATTERY | {"AC/type": "Mains", "AC/online": "0"}, False, 73),
        (BATTERY | {"ups/type": "Battery", "ups/status": "Full", "ups/capacity": "20"}, False, 20),
        (BATTERY | {"BAT0/scope": "Device"}, True, None),  # a mouse's
        ({"BAT0/type": "Battery", "BAT0/status": "Full"}, True, None),
    ],
)
def test_power_is_what_the_batteries_and_the_mains_say(tmp_path, supplies, on_mains, percent):
    reading = read(tmp_path, {f"sys/class/power_supply/{name}": t for name, t in supplies.items()})
    assert (reading.on_mains, reading.battery_percent) == (on_mains, percent)
