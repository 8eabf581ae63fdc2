"""A federation and what a pilot measured of it, for tests of the planner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fedtier.config.federation import load_federation
from fedtier.planner.estimates import Estimates, LinkEstimate, PilotRound
from fedtier.planner.setting import Setting

FEDERATIONS = Path(__file__).parents[2] / "firmware_configs" / "federations"
SLOW = ((None, 1.0), (None, 2.0), (None, 5.0))
PILOT = (
    PilotRound(tau=(4, 1, 1), mu=0.3, loss_before=1.91, loss_after=1.24),
    PilotRound(tau=(4, 4, 1), mu=0.3, loss_before=1.24, loss_after=0.81),
    PilotRound(tau=(4, 4, 1), mu=0.3, loss_before=0.81, loss_after=0.67),
    PilotRound(tau=(32, 1, 1), mu=0.3, loss_before=0.67, loss_after=0.47),
)


def wearables(budgets=(), **tables):
    """The demo's federation; ``budgets`` are those of links 1 to 3."""
    federation = load_federation(FEDERATIONS / "wearables-3-tier.toml")
    links = [
        replace(link, budget=budget)
        for link, budget in zip(federation.links, budgets, strict=False)
    ]
    return replace(federation, links=(*links, *federation.links[len(links) :]), **tables)


def estimates(*, links=SLOW, step_s=0.01, federation=None, **changes):
    """What a pilot of the demo's federation measured, in round numbers."""
    federation = federation or wearables()
    measured = [
        LinkEstimate(
            codec=link.codec, parameters=dict(link.parameters), q=q,
            rate_bytes_per_s=rate, latency_s=latency_s,
        )
        for link, (rate, latency_s), q in zip(
            federation.links, links, (0.39, 0.08, 0.004), strict=True
        )
    ]  # fmt: skip
    given = {
        "dimension": 24_807,
        "step_s": dict.fromkeys(federation.topology.devices(), step_s),
        "link": tuple(measured),
        "gap": 1.91,
        "sigma2": 0.6,
        "zeta2": (0.4, 0.12, 0.12),
        "L": 1.5,
        "Lh": 0.8,
        "Lv": 2.7,
        "progress": PILOT,
    }
    return Estimates(**{**given, **changes})


def setting(budgets=(), **given):
    return Setting.of(wearables(budgets), estimates(**given))
