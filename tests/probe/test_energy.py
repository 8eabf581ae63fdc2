"""Energy from a board's own counters and meters, on files as the kernel shows them."""

from __future__ import annotations

import pytest

from edge_agent.energy import EnergyMeter
from edge_agent.probe.findings import Missing
from edge_agent.probe.steps import thread_counts
from edge_agent.probe.sustained import Warmth


@pytest.fixture
def show(tmp_path):
    """Let the kernel show files below ``/sys/class``."""

    def write(files):
        for name, content in files.items():
            path = tmp_path / "class" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")
        return tmp_path

    return write


def package(number, energy_uj):
    zone = f"powercap/intel-rapl:{number}"
    return {
        f"{zone}/name": f"package-{number}", f"{zone}/max_energy_range_uj": 10_000_000,
        f"{zone}/energy_uj": energy_uj, f"{zone}:0/name": "core", f"{zone}:0/energy_uj": 1,
    }  # fmt: skip


def test_a_board_that_shows_nothing_has_no_joules(tmp_path):
    meter = EnergyMeter(sys=tmp_path)
    meter.look(0.0)
    meter.look(5.0)
    assert (meter.source, meter.joules) == ("", None)


def test_counters_of_all_packages_are_added_and_begin_again_at_their_range(show):
    meter = EnergyMeter(sys=show(package(0, 9_000_000) | package(1, 0)))
    meter.look(0.0)
    show(package(0, 1_000_000) | package(1, 500_000))
    meter.look(1.0)
    assert meter.source == "processor counters (RAPL)"
    assert meter.joules == pytest.approx(2.5)  # 9 to 10, 0 to 1; and half a joule


def test_a_counter_that_was_set_back_adds_nothing_for_that_look(show):
    zone = "powercap/intel-rapl:0"
    meter = EnergyMeter(sys=show({**package(0, 2_000_000), f"{zone}/max_energy_range_uj": 0}))
    for now_s, energy_uj in enumerate((2_000_000, 10, 500_010)):
        show({f"{zone}/energy_uj": energy_uj})
        meter.look(float(now_s))
    assert meter.joules == pytest.approx(0.5)


def test_a_sensor_that_was_set_back_adds_nothing_for_that_look(show):
    file = "hwmon/hwmon0/energy1_input"
    meter = EnergyMeter(sys=show({file: 9_000_000}))
    for now_s, energy_uj in enumerate((9_000_000, 9_250_000, 100, "9" * 400, 7, 250_007)):
        show({file: energy_uj})
        meter.look(float(now_s))
    assert meter.source == "energy sensors (hwmon)"
    assert meter.joules == pytest.approx(0.5)


def test_what_was_used_before_the_first_look_is_not_counted(show):
    meter = EnergyMeter(sys=show(package(0, 0)))
    show(package(0, 5_000_000))
    meter.look(0.0)
    assert meter.joules == 0


def test_a_battery_that_is_used_up_is_power_times_time(show):
    supply = "power_supply/BAT0"
    files = {
        f"{supply}/type": "Battery", f"{supply}/status": "Discharging",
        f"{supply}/current_now": -500_000, f"{supply}/voltage_now": 4_000_000,
    }  # fmt: skip
    meter = EnergyMeter(sys=show(files))
    for now_s in (10.0, 11.0, 13.0):
        meter.look(now_s)
    assert meter.source == "battery"
    assert meter.joules == pytest.approx(2.0 * 3)


def test_a_battery_may_count_what_it_gives_as_less_than_0(show):
    supply = "power_supply/BAT0"
    files = {f"{supply}/type": "Battery", f"{supply}/status": "Discharging"}
    meter = EnergyMeter(sys=show({**files, f"{supply}/power_now": -3_000_000}))
    meter.look(0.0)
    meter.look(2.0)
    assert meter.joules == pytest.approx(6.0)


def test_a_battery_on_the_mains_tells_nothing_of_what_is_used(show):
    supply = "power_supply/BAT0"
    files = {f"{supply}/type": "Battery", f"{supply}/status": "Charging"}
    assert EnergyMeter(sys=show({**files, f"{supply}/power_now": 7_000_000})).joules is None


def test_a_power_sensor_is_taken_before_a_battery(show):
    supply = "power_supply/BAT0"
    files = {f"{supply}/type": "Battery", f"{supply}/status": "Discharging"}
    files |= {f"{supply}/power_now": 9_000_000, "hwmon/hwmon2/power1_input": 1_500_000}
    meter = EnergyMeter(sys=show(files))
    meter.look(0.0)
    meter.look(2.0)
    assert meter.source == "power sensors (hwmon)"
    assert meter.joules == pytest.approx(3.0)


def test_a_power_sensor_that_shows_less_than_0_takes_nothing_back(show):
    file = "hwmon/hwmon2/power1_input"
    meter = EnergyMeter(sys=show({file: 1_000_000}))
    for now_s, power_uw in enumerate((0, 1_000_000, -5_000_000)):
        show({file: power_uw})
        meter.look(float(now_s))
    assert meter.joules == pytest.approx(1.0)


def test_warmth_is_from_the_first_reading_to_the_last():
    readings = iter([40.0, 55.0, 52.5])
    warmth = Warmth(lambda: next(readings))
    warmth.look()
    warmth.look()
    found = warmth.found()
    assert (found.before, found.highest, found.end, found.drift) == (40.0, 55.0, 52.5, 12.5)


def test_a_board_without_a_thermometer_says_so():
    assert isinstance(Warmth(lambda: None).found(), Missing)


@pytest.mark.parametrize(
    ("cores", "counts"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (4, (1, 2, 4)), (6, (1, 2, 4, 6))]
)
def test_threads_double_up_to_all_cores(cores, counts):
    assert thread_counts(cores) == counts
