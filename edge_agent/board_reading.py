"""What the board says of itself right now, read from ``/proc`` and ``/sys``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_agent.kernel_files import number_of, text_of, whole_number

_PAGE_KIB = os.sysconf("SC_PAGESIZE") / 1024
_C_MIN, _C_MAX = -100, 250  # outside no board works: drivers show such for want of an answer
_MAINS_TYPES = ("Mains", "USB", "USB_C", "USB_PD", "USB_DCP", "USB_CDP", "Wireless", "UPS")
_ON_MAINS = ("Charging", "Full", "Not charging")  # of a battery: it is not being used up


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One look at the board; None is what it does not show."""

    minute: int  # of the local day, 0 to 1439
    memory_total_mib: float | None = None
    memory_free_mib: float | None = None  # what programs can still be given (MemAvailable)
    resident_mib: float | None = None  # held by this process
    temperature_c: float | None = None  # of the hottest zone
    load: float | None = None  # runnable processes, mean of the last minute
    on_mains: bool = True  # also of a board that has no battery
    battery_percent: int | None = None  # of the emptiest; None where there is none


def read_board(
    *, proc: Path = Path("/proc"), sys: Path = Path("/sys"), local: time.struct_time | None = None
) -> Reading:
    """Look at the board.

    Args:
        proc: Where the kernel shows memory and load.
        sys: Where it shows temperature and power.
        local: The local time; now by default.
    """
    now = local or time.localtime()
    memory = _memory_mib(proc)
    on_mains, battery_percent = _power(sys / "class" / "power_supply")
    return Reading(
        minute=60 * now.tm_hour + now.tm_min,
        memory_total_mib=memory.get("MemTotal"),
        memory_free_mib=memory.get("MemAvailable"),
        resident_mib=_resident_mib(proc),
        temperature_c=max(_temperatures_c(sys / "class" / "thermal"), default=None),
        load=_load(proc),
        on_mains=on_mains,
        battery_percent=battery_percent,
    )


def _memory_mib(proc: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in text_of(proc / "meminfo").splitlines():
        name, _, value = line.partition(":")
        kib = whole_number(value.removesuffix("kB").strip())
        if kib is not None:
            found[name] = kib / 1024
    return found


def _resident_mib(proc: Path) -> float | None:
    with suppress(IndexError):
        pages = whole_number(text_of(proc / "self" / "statm").split()[1])
        return None if pages is None else pages * _PAGE_KIB / 1024
    return None


def _load(proc: Path) -> float | None:
    with suppress(ValueError, IndexError):
        return float(text_of(proc / "loadavg").split()[0])
    return None


def _temperatures_c(thermal: Path) -> Iterator[float]:
    for zone in sorted(thermal.glob("thermal_zone*/temp")):
        millidegrees = number_of(zone)
        if millidegrees is not None and _C_MIN <= millidegrees / 1000 <= _C_MAX:
            yield millidegrees / 1000


def _power(supplies: Path) -> tuple[bool, int | None]:
    """Whether the board is on mains, and how full its emptiest battery is."""
    mains: list[bool] = []
    batteries: list[tuple[str, int | None]] = []
    for supply in sorted(supplies.glob("*")):
        if text_of(supply / "scope") == "Device":
            continue  # of a mouse, say
        kind = text_of(supply / "type")
        if kind == "Battery":
            percent = number_of(supply / "capacity")
            shown = percent if percent is not None and 0 <= percent <= 100 else None
            batteries.append((text_of(supply / "status"), shown))
        elif kind in _MAINS_TYPES:
            mains.append(text_of(supply / "online") not in ("", "0"))
    used_up = any(status not in _ON_MAINS for status, _ in batteries)
    percents = [percent for _, percent in batteries if percent is not None]
    return any(mains) or not used_up, min(percents, default=None)
