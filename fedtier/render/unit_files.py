"""The systemd unit of a node: the one that is shipped, with what its machine has of its own."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import PurePosixPath

from fedtier.topology.node import Role

STATE_DIR = PurePosixPath("/var/lib/fedtier")
"""What StateDirectory= of the shipped units comes to."""

_BUDGETS_MAX = 2  # the budget is what training may begin with; as much again is for what it takes
_SERVING_MIB = 64  # what serving a model takes, of the demo's size


def unit_name(role: Role) -> str:
    """What the unit of a role is called."""
    return f"fedtier-{role}.service"


def render_unit(
    role: Role,
    *,
    state_dir: PurePosixPath = STATE_DIR,
    memory_budget_mib: int | None = None,
    serves: bool = False,
) -> str:
    """Write the unit of a node.

    Args:
        role: Which program it starts.
        state_dir: Where the node keeps its state, absolute.
        memory_budget_mib: The budget of the device's board; twice that is its limit.
        serves: Whether the device serves models, too; the limit is then higher by what that takes.
    """
    own: dict[str, str] = {}
    if memory_budget_mib is not None:
        most_mib = _BUDGETS_MAX * memory_budget_mib + (_SERVING_MIB if serves else 0)
        own["MemoryMax"] = f"{most_mib}M"
    if not state_dir.is_relative_to(STATE_DIR):
        own["ReadWritePaths"] = str(state_dir)
    shipped = files("firmware_configs") / "systemd" / unit_name(role)
    return _with(shipped.read_text(encoding="utf-8"), own)


def _with(unit: str, settings: Mapping[str, str]) -> str:
    """A unit with settings of [Service] in place of its own, or beneath it where it has none."""
    left = dict(settings)
    lines: list[str] = []
    for line in unit.splitlines():
        name, equals, _ = line.partition("=")
        lines.append(f"{name}={left.pop(name)}" if equals and name in left else line)
    if left:
        at = lines.index("[Service]") + 1
        lines[at:at] = [f"{name}={value}" for name, value in left.items()]
    return "\n".join(lines) + "\n"
