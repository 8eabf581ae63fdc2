"""What a probe has found, measurement by measurement, and as one JSON document."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

FORMAT = 1
UNTIMED = "there was no time: give more --seconds"


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there is no figure: the machine does not offer it, or there was no time."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """The machine; nothing that names this very one."""

    model: str
    architecture: str
    cores: int
    memory_mib: int
    system: str
    virtual: bool  # as far as it shows: a figure of it is none of a board


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Training steps by one lowering on a number of threads."""

    lowering: str
    threads: int
    median_ms: float
    fastest_ms: float
    slowest_ms: float
    steps: int
    peak_mib: float  # of the graph process


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSteps:
    """A lowering that could not be timed on a number of threads."""

    lowering: str
    threads: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """One example through the inference graph, on one thread."""

    median_ms: float
    slowest_ms: float
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sustained:
    """Steps by the first lowering on one thread, one after the other for the rest of the time."""

    seconds: float
    steps: int
    first_ms: float  # median of the first tenth
    last_ms: float  # and of the last: more, where the board slows down as it gets warm
    temperature_c: Temperature | Missing
    energy: Energy | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Temperature:
    """Of the hottest zone, in °C; before the probe, the highest while it lasted, and at its end."""

    before: float
    highest: float
    end: float
    seconds: float  # from before to end

    @property
    def drift(self) -> float:
        """How much warmer it has become."""
        return self.end - self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Of all that the source counts, while steps were done one after the other."""

    source: str
    joules: float
    watts: float
    joules_per_step: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Blocks written one after the other, each forced to the disk."""

    bytes_per_s: float
    block_bytes: int
    block_median_ms: float
    block_slowest_ms: float
    written_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Messages of QoS 1 to the broker and back."""

    round_trip_median_ms: float
    round_trip_slowest_ms: float
    round_trips: int
    bytes_per_s: float  # each way, both at once
    part_bytes: int
    parts: int


@dataclass(slots=True, kw_only=True)
class Findings:
    """All of it; what a probe did not come to stays as it is here."""

    date: str
    artefact: str
    artefact_digest: str
    batch: int
    seconds: float  # that were given
    versions: dict[str, str]
    board: Board
    disk: Disk | Missing = field(default_factory=lambda: Missing(UNTIMED))
    link: Link | Missing = field(default_factory=lambda: Missing(UNTIMED))
    inference: Inference | Missing = field(default_factory=lambda: Missing(UNTIMED))
    steps: list[Steps | NoSteps] = field(default_factory=list)
    sustained: Sustained | Missing = field(default_factory=lambda: Missing(UNTIMED))
    agent_mib: float = 0.0  # the largest that a process like the agent's was
    # The largest that this process was when it had predicted, as one that serves; of a node file
    # with [inference] alone.
    serving_mib: float | Missing | None = None

    @property
    def timed(self) -> list[Steps]:
        """The steps that could be timed."""
        return [row for row in self.steps if isinstance(row, Steps)]

    def to_json(self) -> dict[str, Any]:
        """As written to a file; a figure that is not there is ``{"why": ...}``."""
        document: dict[str, Any] = {"probe": FORMAT, **asdict(self)}
        temperature = getattr(self.sustained, "temperature_c", None)
        if isinstance(temperature, Temperature):
            document["sustained"]["temperature_c"]["drift"] = temperature.drift
        return {name: _rounded(found) for name, found in document.items()}


def _rounded(value: Any) -> Any:  # noqa: ANN401 (a document)
    """Five significant figures: more would be noise."""
    match value:
        case float():
            return float(f"{value:.5g}")
        case dict():
            return {name: _rounded(found) for name, found in value.items()}
        case list():
            return [_rounded(found) for found in value]
        case _:
            return value
