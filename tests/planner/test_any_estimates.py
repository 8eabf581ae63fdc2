"""Whatever estimates say, the answer is a plan or a ConfigError."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fedtier.config.schema import keys_of
from fedtier.errors import ConfigError
from fedtier.limits import MU_MAX, MU_MIN
from fedtier.planner.choose import Wish, choose
from fedtier.planner.document import document_of
from fedtier.planner.estimates import (
    Estimates,
    LinkEstimate,
    PilotRound,
    estimates_json,
    parse_estimates,
)
from fedtier.planner.setting import Setting
from tests.planner.given import estimates, wearables

DEMO = json.loads(estimates_json(estimates()))


def magnitudes(least, most):
    """Numbers of a range: its ends, and all orders of magnitude between them alike."""
    lowest = max(least, 5e-324)
    exponents = st.floats(math.log10(lowest), math.log10(most))
    inside = exponents.map(lambda e: min(max(10.0**e, lowest), most))
    return st.sampled_from([least, lowest, most]) | inside


def numbers(table, name):
    """Every number that a key of estimates may have."""
    (info,) = (key.info for key in keys_of(table) if key.name == name)
    least, most = info.minimum, info.maximum
    if least < 0:
        return magnitudes(0, most) | magnitudes(0, -least).map(lambda number: -number)
    return magnitudes(least, most)


def replaced(part, table, *names):
    """That part of a document with any numbers for some of these keys."""
    drawn = {name: numbers(table, name) | st.just(part.get(name)) for name in names}
    return st.fixed_dictionaries(drawn).map(
        lambda new: part | {name: value for name, value in new.items() if value is not None}
    )


LINKS = st.tuples(
    *(
        replaced(link, LinkEstimate, "q", "rate_bytes_per_s", "latency_s")
        for link in DEMO["link"]
    )
)  # fmt: skip
ROUNDS = st.tuples(
    *(
        replaced(each, PilotRound, "mu", "loss_before", "loss_after")
        for each in DEMO["progress"]
    )
)  # fmt: skip
STEPS = (numbers(Estimates, "step_s") | st.just(0.01)).map(
    lambda seconds: dict.fromkeys(DEMO["step_s"], seconds)
)
ZETA2 = st.tuples(*(numbers(Estimates, "zeta2") | st.just(each) for each in DEMO["zeta2"]))
WISHES = st.builds(
    Wish,
    deadline_s=magnitudes(100.0, 1e9),
    mu=st.none() | magnitudes(MU_MIN, MU_MAX),
    steps_max=st.none() | st.integers(1, 2**53),
)


@given(
    document=replaced(DEMO, Estimates, "gap", "sigma2", "L", "Lh", "Lv"),
    links=LINKS, rounds=st.just(DEMO["progress"]) | ROUNDS, step_s=STEPS, zeta2=ZETA2, wish=WISHES,
)  # fmt: skip
def test_any_numbers_within_their_ranges_are_planned_with_or_refused(
    document, links, rounds, step_s, zeta2, wish
):
    parts = {"link": links, "progress": rounds, "step_s": step_s, "zeta2": zeta2}
    known = parse_estimates(json.dumps(document | parts), where="e.json")
    with contextlib.suppress(ConfigError):
        setting = Setting.of(wearables(), known)
        choice = choose(setting, replace(wish, start_s=setting.start_s))
        assert choice.rounds >= 1
        assert choice.rounds * choice.found.round_s <= wish.deadline_s * (1 + 1e-9)
        json.dumps(document_of(choice), allow_nan=False)
