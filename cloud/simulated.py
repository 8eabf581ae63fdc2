"""A cloud in the simulator: the cloud as it is, with the federation and the plan of the setting."""

from __future__ import annotations

from cloud.run import Wanted, assemble
from fedtier.runtime.host import Assembled
from fedtier.sim.roles import Setting
from fedtier.sim.world import SimBoot


def simulated(boot: SimBoot, setting: Setting) -> Assembled:
    """Put a cloud together, in the simulator."""
    wanted = Wanted(
        federation=setting.federation,
        run_dir=setting.run_dir,
        rounds=setting.rounds,
        seed=setting.seed,
        pilot=setting.pilot,
    )
    return assemble(boot, wanted)
