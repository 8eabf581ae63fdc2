"""Whether a device may begin to work: its board's conditions against what the board says.

Pure: what is true now comes as a ``Reading``, what must be as the board's table.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.board_reading import Reading
from fedtier.config.board import BoardTable
from fedtier.config.hours import Hours
from fedtier.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why work must not begin."""

    reason: str
    lasting: bool = False  # no waiting changes it: the work does not fit this board


def hindrance(board: BoardTable, reading: Reading, *, needed_mib: float) -> Hindrance | None:
    """The first condition that does not hold, the lasting ones before all others.

    Args:
        board: What must be.
        reading: What is.
        needed_mib: Memory that the work takes at the very least.
    """
    reason = _does_not_fit(board, reading, needed_mib)
    if reason is not None:
        return Hindrance(reason, lasting=True)
    reason = _not_now(board, reading)
    return None if reason is None else Hindrance(reason)


def check_shown(board: BoardTable, reading: Reading, *, where: str) -> None:
    """Refuse a condition on what this board does not show, which would never hold.

    Raises:
        ConfigError: If there is one.
    """
    shown = {
        "temperature_max_c": (reading.temperature_c, "/sys/class/thermal shows no temperature"),
        "memory_free_mib": (reading.memory_free_mib, "/proc/meminfo shows no MemAvailable"),
        "load_max": (reading.load, "/proc/loadavg shows no load"),
    }
    for name, (value, complaint) in shown.items():
        wanted = getattr(board, name)
        if wanted is not None and value is None:
            raise ConfigError(
                f"{where}: [board] {name} = {wanted}, but {complaint}. Remove the key."
            )


def _does_not_fit(board: BoardTable, reading: Reading, needed_mib: float) -> str | None:
    total, resident, budget = (
        reading.memory_total_mib, reading.resident_mib, board.memory_budget_mib,
    )  # fmt: skip
    if total is not None:
        if needed_mib > total:
            return (
                f"memory: the model takes {needed_mib:.0f} MiB or more, the board has {total:.0f}"
            )
        if board.memory_free_mib is not None and board.memory_free_mib > total:
            return (
                f"memory: {board.memory_free_mib} MiB free are asked for, the board has {total:.0f}"
            )
    if budget is not None and resident is not None:
        if resident > budget:
            return f"memory: {resident:.0f} MiB resident, the board's budget is {budget} MiB"
        if resident + needed_mib > budget:
            return (
                f"memory: {resident:.0f} MiB resident and {needed_mib:.0f} MiB or more for the "
                f"model, the board's budget is {budget} MiB"
            )
    return None


def _not_now(board: BoardTable, reading: Reading) -> str | None:
    hours = [Hours.parse(window) for window in board.hours]
    if hours and not any(window is not None and reading.minute in window for window in hours):
        return (
            f"hours: {reading.minute // 60:02}:{reading.minute % 60:02} is not in "
            f"{', '.join(board.hours)}"
        )
    if board.power == "mains" and not reading.on_mains:
        return "power: on battery"
    charge, charge_min = reading.battery_percent, board.battery_min_percent
    if charge_min is not None and charge is not None and charge < charge_min:
        return f"battery: {charge} %, less than {charge_min} %"
    if board.temperature_max_c is not None:
        if reading.temperature_c is None:
            return "temperature: the board shows none any more"
        if reading.temperature_c > board.temperature_max_c:
            return (
                f"temperature: {reading.temperature_c:.0f} °C, more than "
                f"{board.temperature_max_c:g} °C"
            )
    free, free_min = reading.memory_free_mib, board.memory_free_mib
    if free_min is not None and (free is None or free < free_min):
        return f"memory: {free or 0:.0f} MiB free, less than {free_min} MiB"
    if board.load_max is not None and (reading.load is None or reading.load > board.load_max):
        return f"load: {reading.load}, more than {board.load_max:g}"
    return None
