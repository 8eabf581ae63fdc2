"""A federation file: what it says, and what it defaults to."""

from __future__ import annotations

import pytest
from farm_federation import BROKERS, DIRECTORY, LINKS, farm, read

from fedtier.config.federation import parse_federation
from fedtier.config.federation_rules import quorum_text
from fedtier.config.inspect_file import inspect_file
from fedtier.topology import Link
from fedtier.wire.plan import members_needed


def test_the_least_file_takes_every_default():
    federation = read(farm())
    assert federation.id == "farm"
    assert federation.weights == "devices"
    assert federation.tiers == 2
    assert federation.topology.devices() == ("cow-1", "cow-2", "cow-3", "pig-1", "pig-2")
    assert federation.links == (
        Link(index=1, codec="qsgd", parameters={"levels": 7, "bucket": 128}),
        Link(index=2, codec="identity", parameters={}),
    )
    plan = federation.plan
    assert (plan.rounds, plan.tau, plan.seed) == (10, (4, 2), 1)
    assert plan.quorum == ("all", "all")
    assert plan.deadline_s == (None, None)
    assert plan.part_bytes == 65536
    assert (plan.schedule.kind, plan.schedule.mu, plan.schedule.floor) == ("cosine", 0.1, 0.05)
    assert federation.artefact == "/srv/farm/models/cow"
    assert federation.evaluation is None
    assert federation.broker_kind == "mosquitto"
    assert not any(extras.access.given for extras in federation.nodes.values())


def test_what_tables_say_of_nodes_is_laid_over_what_holds_for_all():
    federation = read(
        farm(
            data='source = "npz-directory"\npath = "all"\nholdout_percent = 20',
            rest="""
[[node]]
id = "cow-{1..3}"
data = { path = "cow-$1", device = "cow", traits = { number = "$1" } }
board = "pi-4"

[[node]]
id = "cow-2"
data = { holdout_percent = 30 }
board = "boards/mine.toml"

[[node]]
id = "{north,south}"
broker_url = "mqtt://$1.local:1883"

[evaluation]
source = "npz-directory"
path = "held-out"
devices = ["cow"]
""",
        )
    )
    assert federation.nodes["cow-1"].data == {
        "source": "npz-directory",
        "path": "/srv/farm/cow-1",
        "holdout_percent": 20,
        "device": "cow",
        "traits": {"number": 1},
    }
    assert federation.nodes["cow-2"].data["holdout_percent"] == 30
    assert federation.nodes["cow-2"].data["traits"] == {"number": 2}
    assert federation.nodes["pig-1"].data["path"] == "/srv/farm/all"
    assert federation.nodes["cow-1"].board == "pi-4"
    assert federation.nodes["cow-2"].board == "/srv/farm/boards/mine.toml"
    assert federation.nodes["pig-1"].board is None
    assert federation.nodes["north"].broker_url == "mqtt://north.local:1883"
    assert federation.nodes["north"].data == {}
    assert federation.nodes["cloud"].broker_url is None
    assert federation.evaluation == {
        "source": "npz-directory",
        "path": "/srv/farm/held-out",
        "devices": ["cow"],
    }


def test_how_a_node_logs_in_is_what_the_file_says_of_all_and_then_of_it():
    rest = """
[broker]
kind = "url"
url = "mqtts://broker.example"
username = "fleet"
password_file = "~/password"

[[node]]
id = "cow-{1..3}"
username = "cow-$1"
certfile = "certs/$1.crt"
keyfile = "certs/$1.key"
"""
    nodes = read(farm(rest=rest)).nodes
    assert nodes["cow-2"].access.given == {
        "username": "cow-2",
        "password_file": "~/password",
        "certfile": "certs/2.crt",
        "keyfile": "certs/2.key",
    }
    assert nodes["cloud"].access.given == {"username": "fleet", "password_file": "~/password"}


def test_paths_stay_as_they_are_written_for_machines_that_are_elsewhere():
    rest = '[evaluation]\nsource = "npz-directory"\npath = "held-out"\ndevices = ["x"]'
    text = farm(data='source = "npz-directory"\npath = "data/cow"', rest=rest)
    federation = parse_federation(text, where="f", directory=DIRECTORY, as_written=True)
    assert federation.artefact == "models/cow"
    assert federation.nodes["cow-1"].data["path"] == "data/cow"
    assert federation.evaluation is not None
    assert federation.evaluation["path"] == "held-out"


CSV = 'source = "csv-directory"\npath = "r"\nfeatures = ["x"]\nlabel = "y"\nlabels = ["a", "b"]'


@pytest.mark.parametrize(
    ("evaluation", "expected"),
    [
        ("", {}),
        ('source = "csv-directory"', {}),
        ('path = "held-out"', {"path": "/srv/farm/held-out"}),
        ('labels = ["b", "a"]\nfeatures = ["z"]', {"labels": ["b", "a"], "features": ["z"]}),
        ("traits = { side = 1 }", {"traits": {"side": 1}}),
    ],
)
def test_an_evaluation_takes_from_the_same_source_s_data_what_it_does_not_say(evaluation, expected):
    nodes = '[[node]]\nid = "cow-{1..3}"\ndata = { path = "other", traits = { side = 0 } }\n'
    data = CSV + "\nholdout_percent = 20\ntraits = { side = 0 }"
    rest = f'{nodes}[evaluation]\ndevices = ["sheep"]\n{evaluation}'
    assert read(farm(data=data, rest=rest)).evaluation == {
        "source": "csv-directory",
        "path": "/srv/farm/r",
        "features": ["x"],
        "label": "y",
        "labels": ["a", "b"],
        "devices": ["sheep"],
        **expected,
    }


def test_an_evaluation_of_another_source_takes_nothing():
    rest = '[evaluation]\nsource = "imu"\nsubjects = [9]'
    assert read(farm(data=CSV, rest=rest)).evaluation == {"source": "imu", "subjects": [9]}


def test_the_same_name_under_another_path_may_be_held_out():
    rest = '[evaluation]\npath = "later"\ndevices = ["cow-1"]'
    assert read(farm(rest=rest)).evaluation is not None
    rest = '[evaluation]\nsource = "imu"\nsubjects = [1]'  # another source
    assert read(farm(rest=rest)).evaluation is not None


@pytest.mark.parametrize(
    ("quorum", "north", "south", "cloud"),
    [
        ('"all"', 3, 2, 2),
        ("2", 2, 2, 2),
        ("0.5", 2, 1, 1),
        ("0.01", 1, 1, 1),
        ("1.0", 3, 2, 2),
        ('[1, "all"]', 1, 1, 2),
    ],
)
def test_a_quorum_is_all_a_number_or_a_fraction_rounded_up(quorum, north, south, cloud):
    federation = read(farm(plan=f"rounds = 1\ntau = [1, 1]\nquorum = {quorum}"))
    assert federation.members_needed("north") == north
    assert federation.members_needed("south") == south
    assert federation.members_needed("cloud") == cloud


def test_a_fraction_is_taken_as_the_decimal_it_was_written_as():
    # 0.7 * 10 is above 7 in binary
    assert members_needed(quorum_text(0.7), members=10) == 7
    assert quorum_text(0.00001) == "0.00001"


def test_an_explicit_tier_leaves_virtual_tiers_below_a_gateway():
    text = farm(
        tree='[tree]\ncloud = ["high", "low"]\nhigh = ["a"]\nlow = ["gw"]\ngw = ["b"]',
        plan="rounds = 1\ntau = [4, 3, 2]",
        links=LINKS + '[[link]]\ncodec = "identity"\n',
        rest='[[node]]\nid = "high"\ntier = 2',
    )
    topology = read(text).topology
    assert topology.node("high").tier == 2
    assert topology.repeats((4, 3, 2), "a") == 12


def test_a_tree_in_bulk_fills_each_parents_word_into_its_children():
    topology = read(
        farm(tree='[tree]\ncloud = ["gw-{01..12}"]\n"gw-{01..12}" = ["d-$1-{1..4}"]')
    ).topology
    assert len(topology.devices()) == 48
    assert topology.children("gw-07") == ("d-07-1", "d-07-2", "d-07-3", "d-07-4")


def test_deadlines_that_leave_time_for_the_tiers_below_are_taken():
    plan = "rounds = 1\ntau = [1, 5]\ndeadline_s = [10, 52]\ntransfer_s = 2"
    assert read(farm(plan=plan)).plan.deadline_s == (10.0, 52.0)
    plan = 'rounds = 1\ntau = [1, 5]\ndeadline_s = [10, "none"]'
    assert read(farm(plan=plan)).plan.deadline_s == (10.0, None)


def summary(tmp_path, text):
    (tmp_path / "farm.toml").write_text(text, encoding="utf-8")
    return inspect_file(tmp_path / "farm.toml").summary


def test_a_file_without_any_broker_is_for_the_demo_and_says_so(tmp_path):
    words = "; no broker_url, so for fedtier demo alone"
    assert summary(tmp_path, farm()).endswith(words)
    assert not summary(tmp_path, farm(rest=BROKERS)).endswith(words)
    assert read(farm(rest=BROKERS)).without_broker() == ()
    assert read(farm()).without_broker() == ("cloud", "north", "south")
