"""A gateway whose own delta has diverged abstains; it is no reason to end the process."""

from __future__ import annotations

import numpy as np
import pytest
from runtime_world import CELL, Node, Scripted, arrive, presence_of
from test_updates_and_mean import head_of

from fedtier.core.child import LinkTimes
from fedtier.core.effects import Answer, Job
from fedtier.core.events import Received, WorkDone, WorkFailed
from fedtier.core.figures import Figures
from fedtier.runtime.usage import LinkMeter
from fedtier.wire.manifest import decode_update, encode_model
from gateway.performer import Performer


def answer_of(end):
    head = head_of(2)

    def blob(values):
        vector = np.array(values, np.float32)
        return encode_model(vector, model=head.model, layout=head.layout)

    return Answer(
        job=Job.of(head), head=head, weight=1, reason="", start=blob([0, 0]), end=blob(end),
        figures=Figures(),
    )  # fmt: skip


def run_gateway(tmp_path, effect):
    def script(event):
        return [effect] if isinstance(event, Received) else []

    node = Node(Scripted(script, stop_after=2))
    arrive(node, *presence_of("d1"))
    performer = Performer(
        node=CELL, tier=1, state_dir=tmp_path, host=node.driver,
        meter=LinkMeter(node.transports["down"]), link_times=LinkTimes,
    )  # fmt: skip
    assert node.run(performer.perform) == 0
    return node.machine.events[-1]


@pytest.mark.covers("R-3")
@pytest.mark.parametrize("wrong", [100.0, np.nan, np.inf])
def test_a_training_error_of_the_work_becomes_an_event_and_never_reaches_the_loop(tmp_path, wrong):
    answer = answer_of([0, wrong])
    event = run_gateway(tmp_path, answer)
    assert isinstance(event, WorkFailed)
    assert event.job == answer.job
    assert event.reason.startswith("diverged")


def test_a_finished_answer_is_durable_before_it_is_reported(tmp_path):
    answer = answer_of([1, 2])
    event = run_gateway(tmp_path, answer)
    assert isinstance(event, WorkDone)
    assert decode_update(event.blob).manifest.weight == 1
    assert (tmp_path / "outbox.record").exists()
    assert run_gateway(tmp_path, answer) == event  # the second time from the disk
