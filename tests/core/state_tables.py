"""Which state may follow which event, for every machine: what its code must keep to.

The machines do not read these tables; a test drives every pair of state and kind of event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The moves of one machine.

    A pair that is not listed leaves the state as it is. A pair that is ``impossible`` cannot come
    from a driver that works, and is an assertion.
    """

    name: str
    states: tuple[str, ...]
    kinds: tuple[str, ...]  # of events
    moves: Mapping[str, Mapping[str, str]]  # state, kind of event: the states that may follow
    impossible: frozenset[tuple[str, str]] = field(default_factory=frozenset)

    def allowed(self, state: str, kind: str) -> frozenset[str]:
        """The states that may follow, this one among them unless it must be left."""
        assert state in self.states, state
        assert kind in self.kinds, kind
        return frozenset(self.moves.get(state, {}).get(kind, state).split())


_FROM_PARENT = ("head", "beacon", "part", "ack")
_FROM_CHILDREN = ("presence", "own presence", "want", "part", "stray")
_AFTER_OPENING = "collecting closing"

CHILD_LINK = Table(
    name="ChildLink",
    states=("absent", "equipping", "fetching", "working", "offering", "settled", "resting"),
    kinds=(
        "connected", "disconnected", *_FROM_PARENT, "artefact part", "installed", "tick",
        "announce", "answer", "abstain",
    ),
    moves={
        "absent": {"head": "equipping fetching offering resting"},
        "equipping": {
            "head": "equipping fetching working offering resting",
            "installed": "equipping fetching working offering",
        },
        "fetching": {
            "head": "equipping fetching working offering resting",
            "part": "fetching working offering resting",
        },
        "working": {
            "head": "working equipping fetching offering resting",
            "answer": "working offering",
            "abstain": "working offering",
        },
        "offering": {
            "head": "offering equipping fetching working resting",
            "installed": "offering working",
            "ack": "offering settled",
        },
        "settled": {
            "head": "settled offering equipping fetching working resting",
            "installed": "settled offering",
            "ack": "settled offering",
        },
        "resting": {"head": "resting equipping fetching working offering"},
    },
)  # fmt: skip

DEVICE = Table(
    name="DeviceMachine",
    states=CHILD_LINK.states,
    kinds=(
        "connected", "disconnected", *_FROM_PARENT, "artefact part", "installed", "presence",
        "want", "tick", "work done", "work failed", "hindered", "aggregated",
    ),
    moves={
        **CHILD_LINK.moves,
        "working": {
            "head": "working equipping fetching offering resting",
            "work done": "working offering",
            "work failed": "working offering",
            "hindered": "working offering",
        },
    },
    impossible=frozenset((state, "aggregated") for state in CHILD_LINK.states),
)  # fmt: skip

_ANY_WORK = "idle waiting collecting closing answering"

GATEWAY = Table(
    name="TierAggregator",
    states=("idle", "waiting", "collecting", "closing", "answering"),
    kinds=(
        "up connected", "up disconnected", *(f"up {kind}" for kind in _FROM_PARENT),
        "up artefact part", "up presence", "up want", "down connected", "down disconnected",
        *(f"down {kind}" for kind in _FROM_CHILDREN), "tick", "installed", "work done",
        "work failed", "aggregated",
    ),
    moves={
        "idle": {"up head": _ANY_WORK, "up part": _ANY_WORK},
        "waiting": {"up head": "waiting idle", "tick": _ANY_WORK},
        "collecting": {
            "up head": "collecting idle closing answering",
            "down part": "collecting closing answering",
            "tick": "collecting closing answering",
            "aggregated": "collecting closing answering",
        },
        "closing": {
            "up head": "closing idle collecting answering",
            "aggregated": "closing collecting answering",
        },
        "answering": {
            "up head": "answering idle collecting closing",
            "work done": "answering idle",
            "work failed": "answering idle",
        },
    },
    impossible=frozenset((state, "installed") for state in _ANY_WORK.split()),
)  # fmt: skip

ROOT = Table(
    name="RootMachine",
    states=("looking", "gathering", "collecting", "closing", "finished"),
    kinds=(
        "connected", "disconnected", *_FROM_CHILDREN, "tick", "aggregated", "work done",
        "work failed", "installed",
    ),
    moves={
        "looking": {"tick": "looking gathering collecting closing finished"},
        "gathering": {"presence": "gathering collecting closing finished"},
        "collecting": {
            "part": "collecting closing finished",
            "tick": "collecting closing finished",
        },
        "closing": {"aggregated": "gathering collecting closing finished"},
    },
    impossible=frozenset(
        (state, kind)
        for state in ("looking", "gathering", "collecting", "closing", "finished")
        for kind in ("aggregated", "work done", "work failed", "installed")
        if (state, kind) != ("closing", "aggregated")
    ),
)  # fmt: skip

CELL = Table(
    name="Cell",
    states=("looking", "idle", "collecting", "closing"),
    kinds=(
        "connected", "disconnected", "presence", "own presence", "want", "part", "tick", "open",
        "say", "pause",
    ),
    moves={
        "looking": {"tick": "looking idle"},
        "idle": {"open": _AFTER_OPENING},
        "collecting": {
            "part": _AFTER_OPENING, "tick": _AFTER_OPENING, "open": _AFTER_OPENING,
            "pause": "idle",
        },
        "closing": {"open": _AFTER_OPENING, "pause": "idle"},
    },
    impossible=frozenset({("looking", "open")}),
)  # fmt: skip

INTAKE = Table(
    name="Intake, for one child",
    states=("closed", "nothing", "waiting", "receiving", "held"),
    kinds=("offer", "part", "tick", "open", "close"),
    moves={
        "closed": {"open": "nothing"},
        "nothing": {"offer": "nothing waiting receiving held", "close": "closed"},
        "waiting": {
            "offer": "nothing waiting receiving held", "tick": "waiting receiving",
            "open": "nothing", "close": "closed",
        },
        "receiving": {
            "offer": "nothing receiving held", "part": "nothing receiving held",
            "tick": "receiving nothing", "open": "nothing", "close": "closed",
        },
        "held": {"open": "nothing"},
    },
)  # fmt: skip

_ONLINE = {"says ready": "ready", "says not ready": "not_ready", "weighs nothing": "not_ready"}

MEMBER = Table(
    name="Roster, for one member",
    states=("missing", "not_ready", "ready"),
    kinds=(*_ONLINE, "is lost", "leaves", "late will"),
    moves={
        "missing": _ONLINE,
        "not_ready": _ONLINE | {"is lost": "missing", "leaves": "missing"},
        "ready": _ONLINE | {"is lost": "missing", "leaves": "missing"},
    },
)

TABLES = (CHILD_LINK, DEVICE, GATEWAY, ROOT, CELL, INTAKE, MEMBER)
