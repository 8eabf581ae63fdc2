"""Every state of a link's lower end and of a device meets every kind of event, right and wrong."""

from __future__ import annotations

import itertools

import pytest
import state_tables as tables
from core_events import received, results
from core_messages import (
    D0,
    HEAD,
    JOB,
    OUT,
    acks,
    artefact_parts,
    beacons,
    heads,
    installations,
    model_parts,
    presences,
)
from core_states import CHILD_OUT, CHILD_UPDATE, NOW_S, OTHER_JOB, child_at, drive, pairs

from fedtier.core.effects import NO_BLOB, Work
from fedtier.core.events import Connected, Disconnected, Hindered, Received
from fedtier.wire.messages import Want
from fedtier.wire.topics import ALL


def link_inputs(kind: str) -> list[object]:
    def calls(method, *lists, **keywords):
        return [(method, arguments, keywords) for arguments in itertools.product(*lists)]

    now = [NOW_S]
    return {
        "connected": lambda: calls("connected", now),
        "disconnected": lambda: calls("disconnected"),
        "head": lambda: [
            call
            for flag in (True, False)
            for call in calls("hear_head", heads(HEAD), now, retained=flag)
        ],
        "beacon": lambda: calls("hear_beacon", beacons(HEAD)),
        "part": lambda: calls("hear_part", model_parts(), now),
        "ack": lambda: calls("hear_ack", acks(CHILD_OUT.digest), now),
        "artefact part": lambda: calls("hear", received("up", D0, artefact_parts()), now),
        "installed": lambda: calls("installed", installations(), now),
        "tick": lambda: calls("tick", [0.0, 2.0, 5.0, 1e3]),
        "announce": lambda: calls("announce", presences()[:3], now),
        "answer": lambda: calls("answer", [JOB, OTHER_JOB], [CHILD_UPDATE], now),
        "abstain": lambda: calls("abstain", [JOB, OTHER_JOB], ["ill", "", "\n" * 999], now),
    }[kind]()


@pytest.mark.parametrize(("state", "kind"), pairs(tables.CHILD_LINK))
def test_the_link_keeps_its_table(state, kind):
    drive(
        tables.CHILD_LINK, state, kind, lambda state: child_at(state, device=False),
        link_inputs(kind),
    )  # fmt: skip


@pytest.mark.parametrize(("state", "kind"), pairs(tables.DEVICE))
def test_the_device_keeps_its_table(state, kind):
    inputs = results(JOB) | {
        "connected": [Connected(side="up")],
        "disconnected": [Disconnected(side="up")],
        "head": received("up", ALL, heads(HEAD)),
        "beacon": received("up", ALL, beacons(HEAD)),
        "part": received("up", ALL, model_parts()),
        "artefact part": received("up", D0, artefact_parts()),
        "ack": received("up", D0, acks(CHILD_OUT.digest)),
        "presence": received("up", ALL, presences()[:4]),
        "want": received("up", D0, [Want(digest=NO_BLOB, parts=())]),
        "hindered": [
            Hindered(job=job, reason="hot", lasting=lasting)
            for job in (JOB, OTHER_JOB)
            for lasting in (False, True)
        ],
    }
    drive(tables.DEVICE, state, kind, lambda state: child_at(state, device=True), inputs[kind])


def test_work_is_asked_for_once_per_job():
    under = child_at("fetching", device=True)
    works = [
        effect
        for part in model_parts()[: OUT.parts] * 2
        for effect in under.machine.handle(Received(side="up", node=ALL, message=part), NOW_S)
        if isinstance(effect, Work)
    ]
    assert len(works) == 1
