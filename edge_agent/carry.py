"""What a device keeps from one iteration to the next: momentum, or where its steps ended."""

from __future__ import annotations

import math

import numpy as np

from fedtier.artefact.trainer import Trained
from fedtier.core.pilot import keeps_end
from fedtier.model.layout import Vector
from fedtier.storage.outbox import Carried, Outbox, Start
from fedtier.wire.head import Head


def carried_velocity(outbox: Outbox, head: Head) -> Vector | None:
    """The velocity that an iteration starts with, shape ``(p,)``; None to start from rest."""
    if head.plan.carry == "none":
        return None
    start = Start(run=head.run, round=head.path.round, step=head.first_step)
    velocity = outbox.carried(start)
    return None if velocity is None else np.frombuffer(velocity, "<f4").astype(np.float32)


def kept_end(outbox: Outbox, head: Head) -> Vector | None:
    """Where the steps of the round before ended, shape ``(d,)``, where a pilot had it kept."""
    end = outbox.carried(Start(run=head.run, round=head.path.round, step=0), "end")
    return None if end is None else np.frombuffer(end, "<f4").astype(np.float32)


def to_carry(head: Head, trained: Trained) -> Carried | None:
    """What is kept for the device's next iteration, and where that begins."""
    if keeps_end(head.plan, head.path.round):
        start = Start(run=head.run, round=head.path.round + 1, step=0)
        return Carried(start=start, vector=trained.model.astype("<f4").tobytes(), what="end")
    if head.plan.carry == "none" or trained.velocity is None:
        return None
    round_, step = head.path.round, head.first_step + trained.steps
    if step == math.prod(head.plan.tau):
        round_, step = round_ + 1, 0
    start = Start(run=head.run, round=round_, step=step)
    return Carried(start=start, vector=trained.velocity.astype("<f4").tobytes())
