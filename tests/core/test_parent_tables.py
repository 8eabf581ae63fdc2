"""Every state of a cell, its intake and its roster meets every kind of event, right and wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
import state_tables as tables
from core_events import from_children
from core_messages import BLOB, D0, D1, HEAD, OTHER_PATHS, heads, update, update_parts
from core_states import BOOT, NOW_S, cell_at, drive, intake_at, member_at, pairs

from fedtier.core.intake import Held
from fedtier.ids import BootNonce
from fedtier.wire.blob import blob_digest
from fedtier.wire.manifest import peek_update


def held(blob: bytes) -> Held:
    return Held(digest=blob_digest(blob), manifest=peek_update(blob))


def cell_inputs(kind: str) -> list[object]:
    events = from_children("down", HEAD)

    def heard(method, kind, *rest):
        return [(method, (e.node, e.message, *rest), {}) for e in events[kind]]

    spools = [
        {},
        {D0: held(update(HEAD, D0)), D1: held(update(HEAD, D1))},
        {D0: held(update(HEAD, D1))},
        {D0: held(update(replace(HEAD, path=OTHER_PATHS[2]), D0))},
    ]
    return {
        "connected": lambda: [("connected", (NOW_S,), {})],
        "disconnected": lambda: [("disconnected", (), {})],
        "presence": lambda: heard("hear_presence", "presence"),
        "own presence": lambda: [
            ("hear_own_presence", (e.message, NOW_S), {"retained": e.retained})
            for e in events["own presence"]
        ],
        "want": lambda: heard("hear_want", "want", NOW_S),
        "part": lambda: heard("hear_part", "part", NOW_S),
        "tick": lambda: [("tick", (t,), {}) for t in (0.5, 2.0, 40.0, 60.0, 2000.0)],
        "open": lambda: [("open", (HEAD, BLOB, NOW_S), {"spooled": spooled}) for spooled in spools],
        "say": lambda: [("say", (head, BLOB, NOW_S), {}) for head in heads(HEAD)],
        "pause": lambda: [("pause", (NOW_S,), {})],
    }[kind]()


@pytest.mark.parametrize(("state", "kind"), pairs(tables.CELL))
def test_the_cell_keeps_its_table(state, kind):
    drive(tables.CELL, state, kind, cell_at, cell_inputs(kind))


@pytest.mark.parametrize(("state", "kind"), pairs(tables.INTAKE))
def test_the_intake_keeps_its_table(state, kind):
    parts = update_parts(HEAD, D0)
    inputs = {
        "offer": [("hear", (D0, part, 1.0)) for part in parts if part.part == 0],
        "part": [("hear", (D0, part, 1.0)) for part in parts if part.part],
        "tick": [("tick", (now_s,)) for now_s in (0.5, 2.5, 500.0)],
        "open": [("open", (head,)) for head in heads(HEAD)],
        "close": [("close", ())],
    }[kind]
    drive(tables.INTAKE, state, kind, intake_at, inputs)


MEMBER_INPUTS = {
    "says ready": [BOOT, replace(BOOT, weight=7), replace(BOOT, nonce=BootNonce(9))],
    "says not ready": [replace(BOOT, ready=False), replace(BOOT, ready=False, devices=2)],
    "weighs nothing": [replace(BOOT, weight=0)],
    "is lost": [replace(BOOT, status="lost")],
    "leaves": [replace(BOOT, status="leaving")],
    "late will": [replace(BOOT, status=s, nonce=BootNonce(3)) for s in ("lost", "leaving")],
}


@pytest.mark.parametrize(("state", "kind"), pairs(tables.MEMBER))
def test_a_roster_keeps_its_table(state, kind):
    drive(tables.MEMBER, state, kind, member_at, MEMBER_INPUTS[kind])


@pytest.mark.parametrize(("state", "kind"), pairs(tables.MEMBER))
def test_a_member_is_spoken_of_when_it_comes_goes_or_becomes_ready_or_not(state, kind):
    for given in MEMBER_INPUTS[kind]:
        under = member_at(state)
        notes = under.feed(given)
        other_boot = state != "missing" and given.nonce != BOOT.nonce and given.status == "online"
        spoken = [note.event for note in notes if note.level == "info"]
        event = {"is lost": "member lost", "leaves": "member left"}.get(
            kind, f"member {under.state().replace('_', ' ')}"
        )
        assert spoken == ([event] if under.state() != state or other_boot else [])
        assert under.feed(given) == []  # said again, it is nothing new
