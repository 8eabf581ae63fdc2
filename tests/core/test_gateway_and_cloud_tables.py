"""Every state of gateway and cloud meets every kind of event, right and wrong."""

from __future__ import annotations

import pytest
import state_tables as tables
from core_events import from_children, received, results
from core_messages import HEAD, JOB, acks, artefact_parts, beacons, heads, model_parts, presences
from core_states import ABOVE, CHILD_OUT, drive, gateway_at, pairs, root_at

from fedtier.core.effects import NO_BLOB, Job
from fedtier.core.events import Connected, Disconnected
from fedtier.wire.messages import Want
from fedtier.wire.topics import ALL


@pytest.mark.parametrize(("state", "kind"), pairs(tables.GATEWAY))
def test_the_gateway_keeps_its_table(state, kind):
    above = Job.of(ABOVE)
    inputs = {
        "up connected": [Connected(side="up")],
        "up disconnected": [Disconnected(side="up")],
        "up head": received("up", ALL, heads(ABOVE)),
        "up beacon": received("up", ALL, beacons(ABOVE)),
        "up part": received("up", ALL, model_parts()),
        "up artefact part": received("up", "g", artefact_parts()),
        "up ack": received("up", "g", acks(CHILD_OUT.digest)),
        "up presence": received("up", ALL, presences()[:4]),
        "up want": received("up", "g", [Want(digest=NO_BLOB, parts=())]),
        "down connected": [Connected(side="down")],
        "down disconnected": [Disconnected(side="down")],
        **{f"down {kind}": events for kind, events in from_children("down", HEAD).items()},
        **results(above),
    }
    inputs["aggregated"] += results(JOB)["aggregated"]
    drive(tables.GATEWAY, state, kind, gateway_at, inputs[kind])


@pytest.mark.parametrize(("state", "kind"), pairs(tables.ROOT))
def test_the_cloud_keeps_its_table(state, kind):
    head = root_at("collecting").machine.cell.head
    inputs = {
        "connected": [Connected(side="down")],
        "disconnected": [Disconnected(side="down")],
        **from_children("down", head),
        **results(Job.of(head)),
    }
    if (state, kind) == ("closing", "aggregated"):
        inputs["aggregated"].pop()  # of another job: impossible
    drive(tables.ROOT, state, kind, root_at, inputs[kind])
