"""Momentum from one of a device's iterations to the next, where the plan says ``carry``."""

from __future__ import annotations

import math

import numpy as np

from fedtier.artefact.trainer import Trained
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


def to_carry(head: Head, trained: Trained) -> Carried | None:
    """What the optimiser keeps for the device's next iteration, and where that begins."""
    if head.plan.carry == "none" or trained.velocity is None:
        return None
    round_, step = head.path.round, head.first_step + trained.steps
    if step == math.prod(head.plan.tau):
        round_, step = round_ + 1, 0
    start = Start(run=head.run, round=round_, step=step)
    return Carried(start=start, velocity=trained.velocity.astype("<f4").tobytes())
