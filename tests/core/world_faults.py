"""A bad network: drops, doubles, reorders and delays what it is given, for a while, by a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from world import World

from fedtier.ids import NodeId
from fedtier.transport.memory import Delivery


class BadNetwork:
    """Faults on every topic of every broker, ``budget`` of them; then it is perfect."""

    def __init__(
        self,
        world: World,
        seed: int,
        *,
        drop: float = 0.2,
        double: float = 0.1,
        reorder: float = 0.2,
        delay: float = 0.1,
        delay_max_s: float = 20.0,
        budget: int = 400,
        touches: Callable[[Delivery], bool] = lambda delivery: True,
    ) -> None:
        self.world, self.dice, self.budget, self.touches = (
            world,
            random.Random(seed),
            budget,
            touches,
        )
        self.drop, self.double, self.reorder, self.delay = drop, double, reorder, delay
        self.delay_max_s = delay_max_s
        self.faults = 0
        for cell, broker in world.brokers.items():
            broker.fault = self._fault_of(cell)

    def _fault_of(self, cell: NodeId) -> Callable[[Delivery], Sequence[int]]:
        def fault(delivery: Delivery) -> Sequence[int]:
            self.world.check_delivery(cell, delivery)
            if self.faults >= self.budget or not self.touches(delivery):
                return (0,)
            return self._roll(cell, delivery)

        return fault

    def _roll(self, cell: NodeId, delivery: Delivery) -> Sequence[int]:
        roll = self.dice.random()
        if roll < self.drop:
            self.faults += 1
            return ()
        roll -= self.drop
        if roll < self.delay:
            self.faults += 1
            later_s = self.dice.uniform(0.1, self.delay_max_s)
            broker = self.world.brokers[cell]
            self.world.at(self.world.now_s + later_s, lambda: broker.redeliver(delivery))
            return ()
        roll -= self.delay
        if roll < self.reorder:
            self.faults += 1
            return (self.dice.randint(1, 12),)
        roll -= self.reorder
        if roll < self.double:
            self.faults += 1
            return (0, self.dice.randint(0, 12))
        return (0,)
