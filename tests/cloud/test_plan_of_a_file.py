"""Whatever plan a federation file may ask for, nodes take it from a head."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.plan import differences, plan_of
from fedtier.config.federation import parse_federation
from fedtier.errors import ConfigError
from fedtier.ids import hex64
from fedtier.wire.fields import Fields, to_json
from fedtier.wire.plan import Plan


def federation(plan):
    text = f"""
[federation]
id = "farm"
[tree]
cloud = ["d1", "d2"]
[model]
artefact = "models/cow"
[plan]
rounds = 3
{plan}
[[link]]
codec = "qsgd"
levels = 7
[data]
source = "imu"
subject = 1
side = 0
"""
    return parse_federation(text, where="farm.toml", directory=Path("/srv"))


@pytest.mark.parametrize(
    "plan",
    [
        "tau = [4]",
        "tau = [1000000]\nseed = 9223372036854775807",
        "tau = [4]\nbeacon_s = 1\ngive_up_s = 0.001",
        "tau = [4]\nquorum = 0.00001",
        "tau = [4]\nquorum = 1.0\ndeadline_s = 2592000\nrange_bits = 30",
        'tau = [4]\nschedule = { kind = "constant", mu = 1e-9, floor = 1, factor = 0.5 }',
        'tau = [4]\nschedule = { kind = "step", milestones = [0.5] }',
        'tau = [4]\ncarry = "iteration"',
        'tau = [4]\nlowering = "auto"',
        'tau = [4]\nlowering = "gemm"',
        'tau = [4]\nschedule = { kind = "step", factor = 1, milestones = [1e-9, 0.5, 0.999999] }',
    ],
)
def test_the_extremes_a_file_may_ask_for_pass_a_node_unchanged(plan):
    made = plan_of(federation(plan))
    assert Plan.from_fields(Fields(made.to_json(), what="plan")) == made


def test_what_a_command_asks_for_stands_in_place_of_the_file():
    made = plan_of(federation("tau = [4]\nseed = 5"), rounds=9, seed=0)
    assert (made.rounds, made.seed) == (9, 0)


def test_a_small_share_is_written_without_an_exponent():
    assert plan_of(federation("tau = [4]\nquorum = 0.00001")).quorum == ("0.00001",)


def test_a_plan_that_nodes_would_drop_is_refused_at_the_start():
    share = "0.0000000000000000001"  # more digits than a head carries
    with pytest.raises(ConfigError, match=r"farm\.toml: no node would take this plan: .*quorum"):
        plan_of(federation(f"tau = [4]\nquorum = {share}"))


def test_two_plans_are_told_apart_by_the_keys_that_differ_with_both_values():
    one = plan_of(federation("tau = [4]"))
    other = plan_of(federation("tau = [8]"), rounds=5, seed=2)
    assert differences(to_json(one.to_json()).decode(), one) == []
    assert differences(to_json(one.to_json()).decode(), other) == [
        f'seed = "{hex64(one.seed)}" (now "{hex64(2)}")',
        "rounds = 3 (now 5)", "tau = [4] (now [8])",
    ]  # fmt: skip


def test_a_run_that_plans_itself_takes_no_other_pilot():
    auto = federation('tau = "auto"\nauto = { deadline_s = 60, pilot_rounds = 2 }')
    assert plan_of(auto).pilot == 2
    with pytest.raises(ConfigError, match=r"farm.toml: --pilot 3 .* pilot_rounds"):
        plan_of(auto, pilot=3)


def test_a_pilot_that_does_not_fit_into_the_run_is_refused_with_what_to_lower():
    auto = federation('tau = "auto"\nauto = { deadline_s = 60, pilot_rounds = 3 }')
    given = federation("tau = [4]")
    asked = (auto, None, r"pilot_rounds of \[plan.auto\]"), (given, 3, "--pilot")
    for file, pilot, lower in asked:
        assert plan_of(file, pilot=pilot).pilot == 3
        with pytest.raises(ConfigError, match=f"of 3 rounds .* the 2 of .* Lower {lower}, or"):
            plan_of(file, rounds=2, pilot=pilot)


def test_earlier_estimates_leave_no_pilot_that_has_to_fit():
    auto = federation('tau = "auto"\nauto = { deadline_s = 60, estimates = "e.json" }')
    assert plan_of(auto, rounds=1).pilot == 0
