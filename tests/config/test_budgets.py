"""Budgets of links in files: what is rendered, and what is refused with the least that will do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from farm_federation import farm, read

from fedtier.budget import Budget
from fedtier.config.budget_rules import check_rounds
from fedtier.config.node_file import parse_node_file
from fedtier.config.place import Place
from fedtier.errors import ConfigError
from fedtier.ids import NodeId
from fedtier.render.node_files import render_node_files
from fedtier.wire.costs import Prices

DIMENSION = 100_000
PLAN = "rounds = 10\ntau = [4, 5]\npart_bytes = 8192"


def links(*budgets: str) -> str:
    return "".join(f'\n[[link]]\ncodec = "qsgd"\nlevels = 7\n{budget}\n' for budget in budgets)


def refusal(text: str) -> str:
    """Why a federation file is refused, by itself or for its model; empty if it is not."""
    try:
        check_rounds(read(text), dimension=DIMENSION, place=Place("f.toml"))
    except ConfigError as error:
        return str(error)
    return ""


def least(message: str) -> int:
    return int(re.search(r"Use (\d+) or more", message)[1])


@pytest.mark.parametrize("name", ["budget_bytes_per_round", "budget_bytes_per_day"])
@pytest.mark.parametrize(
    "more", ["", '\nquorum = [1, 1]\ndeadline_s = [60, "none"]'], ids=["all", "some"]
)
def test_the_least_that_is_named_will_do_and_a_byte_less_will_not(name, more):
    budget, seen = 1, []
    while message := refusal(farm(plan=PLAN + more, links=links(f"{name} = {budget}", ""))):
        assert f"[[link]] 1 {name} = {budget}" in message
        assert not seen or least(message) > seen[-1]
        seen.append(budget := least(message))
    one_less = farm(plan=PLAN + more, links=links(f"{name} = {budget - 1}", ""))
    assert least(refusal(one_less)) == budget
    assert len(seen) <= 3  # a part, an update, in time


def test_a_round_carries_all_its_iterations_unless_it_may_do_without_members():
    whole, some = (
        least(refusal(farm(plan=PLAN + more, links=links("budget_bytes_per_round = 150000", ""))))
        for more in ("", '\nquorum = [1, 1]\ndeadline_s = [60, "none"]')
    )
    model = 4 * DIMENSION
    assert whole - some > 4 * model  # tau_2 = 5 iterations a round, or one
    assert some > model
    # The upper link has one iteration a round.
    upper = least(refusal(farm(plan=PLAN, links=links("", "budget_bytes_per_round = 150000"))))
    assert model < upper < 2 * model


def test_a_quorum_without_a_deadline_waits_for_all_the_same():
    short = links("budget_bytes_per_round = 150000", "")
    with_all = least(refusal(farm(plan=PLAN, links=short)))
    assert least(refusal(farm(plan=PLAN + "\nquorum = [1, 1]", links=short))) == with_all


def test_days_may_go_by_where_nobody_sets_a_deadline():
    day = links("budget_bytes_per_day = 100000", "")
    assert refusal(farm(plan=PLAN, links=day)) == ""
    message = refusal(farm(plan=PLAN + '\ndeadline_s = [3600, "none"]', links=day))
    days = int(re.search(r"model and update take (\d+) days, and the cell waits", message)[1])
    assert 4 * DIMENSION / 100_000 < days <= 6  # with the update, and what is said beside


def test_a_pace_at_which_a_part_takes_too_long_is_refused():
    slow = farm(plan=PLAN, links=links("rate_bytes_per_s = 1000\nairtime_share_max = 0.1", ""))
    with pytest.raises(ConfigError, match=r"comes to 100 bytes a second.*part_bytes of 6000 or"):
        read(slow)
    assert refusal(slow.replace("part_bytes = 8192", "part_bytes = 6000")) == ""


def test_a_share_of_airtime_needs_a_rate():
    with pytest.raises(ConfigError, match=r"airtime_share_max = 0\.1 needs rate_bytes_per_s"):
        read(farm(links=links("airtime_share_max = 0.1", "")))


def test_every_child_of_the_link_gets_its_budget_and_nobody_else():
    text = farm(
        plan=PLAN,
        links=links("budget_bytes_per_day = 100000\nrate_bytes_per_s = 5000.0", ""),
    )
    federation = read(text)
    urls = {p: f"mqtt://{p}.local:1883" for p in federation.topology.parents()}
    texts = render_node_files(
        federation, directory=Path("/srv"), federation_file=Path("/f.toml"), broker_urls=urls
    )
    for node in federation.topology:
        file = parse_node_file(texts[node.id], where="n.toml", directory=Path("/etc"))
        if not node.is_device:
            assert file.budget is None
            continue
        assert file.budget is not None
        assert file.budget.budget == Budget(bytes_per_day=100_000, rate_bytes_per_s=5000.0)
        assert file.budget.members == len(federation.topology.children(NodeId(node.parent)))


NODE = """
[node]
id = "cow-1"
role = "agent"
federation = "farm"
tier = 0
state_dir = "state"
part_bytes = 8192
[parent]
id = "north"
url = "{url}"
[budget]
{budget}
members = 3
[data]
source = "imu"
path = "cow.npz"
subject = 1
side = 0
"""


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("name", ["bytes_per_round", "bytes_per_day"])
def test_a_node_file_is_held_to_the_same(name, tls):
    prices = Prices.of(members=3, part_bytes=8192, tls=tls)
    needed = prices.least_of_round if name == "bytes_per_round" else prices.least_of_day
    url = f"mqtt{'s' if tls else ''}://north.local"

    def parse(budget: int) -> None:
        text = NODE.format(url=url, budget=f"{name} = {budget}")
        parse_node_file(text, where="n.toml", directory=Path("/etc"))

    parse(needed)
    with pytest.raises(ConfigError, match=rf"\[budget\] {name} = {needed - 1}.*Use {needed} or"):
        parse(needed - 1)
