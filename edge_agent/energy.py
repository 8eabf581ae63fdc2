"""Energy that the board has used, where ``/sys`` has a counter or a meter of power."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edge_agent.kernel_files import number_of, text_of

_MICRO = 1e-6


@dataclass(frozen=True, slots=True)
class _Counter:
    """Microjoules so far, and where it begins again at 0; 0 = never."""

    read: Callable[[], int | None]
    range_uj: int

    def used_uj(self, before: int, after: int) -> int:
        """Between two looks; 0 of a counter that was set back: what it had counted is unknown."""
        used_uj = after - before
        return max(0, used_uj if used_uj >= 0 else used_uj + self.range_uj)


class EnergyMeter:
    """Adds up energy between looks.

    A processor's own counters (RAPL) are taken before a sensor of energy or power (hwmon), and that
    before a battery that is being used up. What they count is everything behind them, not one
    process.

    Attributes:
        source: Where the figures are from; empty where the board offers none.
    """

    def __init__(self, *, sys: Path = Path("/sys")) -> None:
        """Find what there is to read.

        Args:
            sys: Where the kernel shows it.
        """
        self._counters: list[_Counter] = []
        self._meters: list[Callable[[], float | None]] = []
        self.source = ""
        kinds = {
            "processor counters (RAPL)": _rapl(sys),
            "energy sensors (hwmon)": _energy_sensors(sys),
        }
        for source, counters in kinds.items():
            if counters and not self.source:
                self._counters, self.source = counters, source
        watts = {
            "power sensors (hwmon)": _power_sensors(sys),
            "battery": _batteries(sys),
        }
        for source, meters in watts.items():
            if meters and not self.source:
                self._meters, self.source = meters, source
        self._last_uj = [counter.read() for counter in self._counters]
        self._last_s: float | None = None
        self._joules = 0.0

    def look(self, now_s: float) -> None:
        """Take in what was used since the last look; the first one only begins.

        Args:
            now_s: Of a clock that never goes back. A meter of power is taken to have shown the same
                since the last look, so look often.
        """
        found_uj = [counter.read() for counter in self._counters]
        if self._last_s is not None:
            for counter, before, after in zip(self._counters, self._last_uj, found_uj, strict=True):
                if before is not None and after is not None:
                    self._joules += _MICRO * counter.used_uj(before, after)
            for meter in self._meters:
                self._joules += max(0.0, meter() or 0.0) * (now_s - self._last_s)
        self._last_uj, self._last_s = found_uj, now_s

    @property
    def joules(self) -> float | None:
        """Between the first look and the last; None where the board offers nothing."""
        return self._joules if self.source else None


def _rapl(sys: Path) -> list[_Counter]:
    # Of a package alone: its cores and memory, which have counters of their own, are within it.
    zones = [
        zone
        for zone in sorted((sys / "class" / "powercap").glob("*:*"))
        if zone.name.count(":") == 1 and text_of(zone / "name").startswith("package")
    ]
    return [
        _Counter(
            partial(number_of, zone / "energy_uj"), number_of(zone / "max_energy_range_uj") or 0
        )
        for zone in zones
        if number_of(zone / "energy_uj") is not None  # readable by root alone on many systems
    ]


def _energy_sensors(sys: Path) -> list[_Counter]:
    return [_Counter(partial(number_of, file), 0) for file in _sensors(sys, "energy*_input")]


def _power_sensors(sys: Path) -> list[Callable[[], float | None]]:
    return [_watts(partial(number_of, file)) for file in _sensors(sys, "power*_input")]


def _sensors(sys: Path, pattern: str) -> Iterator[Path]:
    for file in sorted((sys / "class" / "hwmon").glob(f"*/{pattern}")):
        if number_of(file) is not None:
            yield file


def _batteries(sys: Path) -> list[Callable[[], float | None]]:
    supplies = sorted((sys / "class" / "power_supply").glob("*"))
    return [
        partial(_drain_w, supply)
        for supply in supplies
        if text_of(supply / "type") == "Battery" and _drain_w(supply) is not None
    ]


def _drain_w(supply: Path) -> float | None:
    """What a battery gives just now; None while it gives nothing, or does not say."""
    if text_of(supply / "status") != "Discharging":
        return None
    power_uw = number_of(supply / "power_now")
    if power_uw is not None:
        return _MICRO * abs(power_uw)  # some drivers count what goes out as less than 0
    current_ua, voltage_uv = number_of(supply / "current_now"), number_of(supply / "voltage_now")
    if current_ua is None or voltage_uv is None:
        return None
    return _MICRO * _MICRO * abs(current_ua) * voltage_uv


def _watts(read: Callable[[], int | None]) -> Callable[[], float | None]:
    def watts() -> float | None:
        found = read()
        return None if found is None else _MICRO * found

    return watts
