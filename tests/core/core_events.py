"""What drivers tell machines: messages received, results of work."""

from __future__ import annotations

import functools
from dataclasses import replace

from core_messages import (
    D0,
    HEAD,
    OTHER_BLOB,
    OTHER_MODEL,
    OUT,
    beacons,
    installations,
    model_parts,
    presences,
    update_parts,
)
from core_states import CHILD_UPDATE

from fedtier.core.effects import NO_BLOB, Job
from fedtier.core.events import Aggregated, Received, Tick, WorkDone, WorkFailed
from fedtier.ids import IterationPath, NodeId
from fedtier.wire.head import Head
from fedtier.wire.messages import Ack, Presence, Want
from fedtier.wire.topics import ALL


def received(side: str, node: str, messages: list[object]) -> list[object]:
    return [
        Received(side=side, node=NodeId(node), message=message, retained=retained)
        for message in messages
        for retained in (False, True)
    ]


def results(job: Job) -> dict[str, list[object]]:
    other = replace(job, path=IterationPath((0, 7)))
    return {
        "work done": [WorkDone(job=j, blob=CHILD_UPDATE) for j in (job, other)],
        "work failed": [WorkFailed(job=j, reason="ill") for j in (job, other)],
        "aggregated": [Aggregated(job=j, model=OTHER_MODEL, blob=OTHER_BLOB) for j in (job, other)],
        "installed": list(installations()),
        "tick": [Tick()],
    }


def own_presences() -> list[Presence]:
    return presences()


@functools.cache
def from_children(side: str, head: Head) -> dict[str, list[object]]:
    wants = [
        Want(digest=digest, parts=parts)
        for digest in (NO_BLOB, OUT.digest, "ee" * 32)
        for parts in ((), (0, 1, 2**20))
    ]
    stray = [HEAD, beacons(HEAD)[0], Ack(digest=NO_BLOB, verdict="want"), model_parts()[0]]
    nodes = ("d0", "d1", "stranger", "all")
    return {
        "presence": [e for node in nodes[:3] for e in received(side, node, presences())],
        "own presence": received(side, ALL, own_presences()),
        "want": [e for node in nodes for e in received(side, node, wants)],
        "part": [e for node in nodes for e in received(side, node, update_parts(head, D0))],
        "stray": received(side, "d0", stray),
    }
