"""What a board can spare for the agent: its profile, shipped by name or given as a file."""
# ruff: noqa: RUF009 (key() makes a dataclasses.field)

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from fedtier.config.files import read_text
from fedtier.config.hours import hours_complaint
from fedtier.config.parse import parse_table
from fedtier.config.place import Place
from fedtier.config.schema import key
from fedtier.config.toml_text import parse_document
from fedtier.errors import ConfigError
from fedtier.words import nearest

PROFILES = "firmware_configs"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardTable:
    """What this node's process may use of its board."""

    threads: int = key(
        "Agent: threads of the trainer. Results are bit-exact at 1.",
        default=1,
        minimum=1,
        maximum=256,
    )
    batch_max: int | None = key(
        "Agent: largest training batch the board should be given; an artefact compiled for more is "
        "refused. Absent: any.",
        default=None,
        minimum=1,
        maximum=1_000_000,
    )
    memory_budget_mib: int | None = key(
        "Agent: most memory the process may hold when it begins to train, with the least that the "
        "model takes; above it the device abstains and says so. Absent: no budget.",
        default=None,
        unit="MiB",
        minimum=32,
        maximum=1024 * 1024,
    )
    keep_trainer_s: int = key(
        "Agent: how long the process that trains stays when it has nothing to do. Then it ends and "
        "gives its memory back; the next work starts another.",
        default=10,
        unit="s",
        minimum=1,
        maximum=86_400,
    )
    memory_free_mib: int | None = key(
        "Agent: memory that must be free for it to begin to work (the kernel's MemAvailable). "
        "Absent: any.",
        default=None,
        unit="MiB",
        minimum=1,
        maximum=1024 * 1024,
    )
    temperature_max_c: float | None = key(
        "Agent: how warm the board's hottest zone may be for it to begin to work. Absent: any.",
        default=None,
        unit="°C",
        minimum=1,
        maximum=150,
    )
    load_max: float | None = key(
        "Agent: the highest load (mean of the last minute) at which it begins to work. Its own "
        "counts too, so give more than threads. Absent: any.",
        default=None,
        above=0,
        maximum=1024,
    )
    power: Literal["any", "mains"] = key(
        'Agent: "mains" = it begins to work only while the board uses up no battery.',
        default="any",
    )
    battery_min_percent: int | None = key(
        "Agent: how full the emptiest battery must be for it to begin to work; a board without one "
        "always may. Absent: any.",
        default=None,
        unit="%",
        minimum=1,
        maximum=100,
    )
    hours: tuple[str, ...] = key(
        'Agent: the local times at which it begins to work, such as ["22:00-06:00"]. Absent: any.',
        default=(),
        items_max=24,
        complaint=hours_complaint,
    )
    patience_s: float = key(
        "Agent: how long it waits in a round for its board's conditions; then it abstains and says "
        "which does not hold, until the next round. The other members of its cell wait with it.",
        default=60.0,
        unit="s",
        minimum=0,
        maximum=86_400,
    )
    journal: Literal["disk", "ram"] = key(
        'Agent: where an update waits until it is accepted; "ram" spares a card that wears out. A '
        "restart then does the iteration again, to the same bits, and asks again for all of an "
        "artefact that was on its way. Carried momentum is written all the same.",
        default="disk",
    )
    accuracy_drop_max: float = key(
        "Agent with [inference]: how much lower than the served model's a new model's accuracy on "
        "this device's own hold-out may be, as a share of all answers; a lower one is refused and "
        "the old model goes on being served. On n answers one makes 1/n.",
        default=0.05,
        minimum=0,
        maximum=1,
    )
    loss_rise_max: float = key(
        "The same of a model whose answers are neither right nor wrong: how much higher its loss "
        "may be, as a share of the served model's.",
        default=0.1,
        minimum=0,
        maximum=1000,
    )
    nice: int = key(
        "How far the process steps back for others (nice value).",
        default=0,
        minimum=0,
        maximum=19,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardFile:
    """A board's profile."""

    name: str = key("The profile's name.")
    description: str = key("The board: processor, cores, memory.")
    measured: bool = key("Whether the values were measured on the board itself.", default=False)
    board: BoardTable = key("What a node's process may use of this board.")


def load_board(board: str) -> BoardFile:
    """Load a profile.

    Args:
        board: The name of a shipped profile, such as ``pi-4``, or the path of a ``.toml`` file.

    Raises:
        ConfigError: If there is none of that name, or it cannot be.
    """
    if board.endswith(".toml"):
        return parse_board(read_text(Path(board).expanduser()), where=board)
    shipped = files(PROFILES) / "boards"
    known = board_names()
    if board not in known:
        raise ConfigError(
            f"board profile {board!r} is not shipped.{nearest(board, known)} Known: "
            f"{', '.join(known)}; or give the path of a .toml file."
        )
    text = (shipped / f"{board}.toml").read_text(encoding="utf-8")
    return parse_board(text, where=f"{PROFILES}/boards/{board}.toml")


def board_names() -> tuple[str, ...]:
    """The shipped profiles, in name order."""
    entries = (files(PROFILES) / "boards").iterdir()
    return tuple(sorted(e.name.removesuffix(".toml") for e in entries if e.name.endswith(".toml")))


def parse_board(text: str, *, where: str) -> BoardFile:
    """Check a profile's text.

    Raises:
        ConfigError: If it cannot be.
    """
    return parse_table(BoardFile, parse_document(text, where=where), Place(where))
