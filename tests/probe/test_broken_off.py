"""A measurement that ends too late, or is broken off, keeps what it has."""

from __future__ import annotations

import json
import signal
import time
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.energy import EnergyMeter
from edge_agent.probe.findings import UNTIMED, Missing, NoSteps, Steps, Sustained
from edge_agent.probe.run import Wanted, main
from edge_agent.probe.steps import StepTimes
from edge_agent.probe.sustained import SustainedSteps, Warmth
from edge_agent.probe.timed_runs import timed_runs
from fedtier.artefact.find import find_artefact
from fedtier.errors import StorageError

LONG_S = 600.0  # what breaks off comes long before


class BrokenOff(Exception):
    pass


@pytest.fixture(scope="module")
def artefact():
    return find_artefact("package:imu")


@given(
    end_s=st.integers(0, 100),
    run_s=st.integers(1, 40),
    runs_min=st.integers(0, 3),
    runs_max=st.integers(3, 20),
)
def test_all_runs_but_the_first_few_end_in_time(end_s, run_s, runs_min, runs_max):
    now_s = 0

    def run():
        nonlocal now_s
        now_s += run_s

    runs = timed_runs(
        run, end_s=end_s, runs_min=runs_min, runs_max=runs_max, clock=lambda: float(now_s)
    )
    taken_s = list(runs)
    assert set(taken_s) <= {run_s}
    assert runs_min <= len(taken_s) <= runs_max
    first = max(1, runs_min)  # how long one takes is known of those that were
    assert len(taken_s) <= first or now_s <= end_s
    assert len(taken_s) == runs_max or now_s + run_s >= end_s  # and no time is left unused


@contextmanager
def broken_off_when(condition):
    """Break off what is in the block, as soon as a condition holds."""

    def look(_number, _frame):
        if condition():
            signal.setitimer(signal.ITIMER_REAL, 0)  # once
            raise BrokenOff

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        with pytest.raises(BrokenOff):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_steps_that_were_timed_stay(artefact):
    times = StepTimes(artefact, artefact.manifest.lowering, threads=1)
    assert times.found() == NoSteps(lowering=artefact.manifest.lowering, threads=1, why=UNTIMED)
    with broken_off_when(lambda: isinstance(times.found(), Steps)):
        times.measure(end_s=time.monotonic() + LONG_S)
    found = times.found()
    assert found.steps >= 1
    assert 0 < found.fastest_ms <= found.median_ms <= found.slowest_ms
    assert found.peak_mib > 20  # onnxruntime's libraries alone


@pytest.fixture
def meter(tmp_path):
    """Of a board that takes 2 W."""
    power = tmp_path / "class" / "hwmon" / "hwmon0" / "power1_input"
    power.parent.mkdir(parents=True)
    power.write_text("2000000\n", encoding="ascii")
    return EnergyMeter(sys=tmp_path)


def test_sustained_steps_stay_with_temperature_and_energy_up_to_the_last_look(artefact, meter):
    readings = iter([40.0, 45.0, 47.0])  # before, and at two looks

    def read():
        found = next(readings, None)
        if found is None:
            raise BrokenOff
        return found

    sustained = SustainedSteps(warmth=Warmth(read), meter=meter)
    assert sustained.found() == Missing(UNTIMED)
    with pytest.raises(BrokenOff):
        sustained.measure(artefact, end_s=time.monotonic() + LONG_S)
    found = sustained.found()
    assert isinstance(found, Sustained)
    assert found.steps >= 2
    assert found.seconds >= 1.0  # two looks, half a second apart
    assert (found.temperature_c.before, found.temperature_c.end) == (40.0, 47.0)
    assert found.energy.watts == pytest.approx(2.0)
    assert found.energy.joules_per_step == pytest.approx(2.0 * found.seconds / found.steps)


def test_figures_that_the_disk_does_not_take_are_shown_all_the_same(tmp_path, capsys):
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    wanted = Wanted(
        artefact="package:imu", broker=None, node_file=None, directory=tmp_path,
        began_s=time.monotonic(), seconds=2.0, out=in_the_way / "probe.json", as_json=True,
    )  # fmt: skip
    with pytest.raises(StorageError):
        main(wanted)
    assert json.loads(capsys.readouterr().out)["artefact"] == "imu-net"


def test_sustained_steps_without_a_step_are_missing(artefact, meter):
    sustained = SustainedSteps(warmth=Warmth(lambda: None), meter=meter)
    sustained.measure(artefact, end_s=time.monotonic())
    assert sustained.found() == Missing(UNTIMED)
