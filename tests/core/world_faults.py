"""A bad network: drops, doubles, reorders and delays what it is given, for a while, by a seed."""

from __future__ import annotations

from dataclasses import replace

from world import World

from fedtier.sim.faults import Befallen, Faults, Touches, every

BAD = Faults(drop=0.2, double=0.1, reorder=0.2, delay=0.1, budget=400, until=1e7)


def befall(
    world: World, faults: Faults = BAD, *, touches: Touches = every, **changes: object
) -> Befallen:
    """Faults on every topic of every broker, ``budget`` of them; then the network is perfect."""
    return replace(faults, **changes).befall(world.sim, touches=touches)
