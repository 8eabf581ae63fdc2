"""A federation of processes ends in the model that the nested loops on paper end in, to the bit."""

from __future__ import annotations

import json

import pytest
from testbed import REPOSITORY, Program

from fedtier import load, simulate

FIVE_TIERS = {
    "cloud": ["n", "s"],
    "n": ["n-1", "d"],  # a device four tiers below where it hangs
    "n-1": ["n-2"],
    "n-2": ["n-3"],
    "n-3": ["a", "b"],
    "s": ["s-1"],
    "s-1": ["s-2"],
    "s-2": ["c"],
}

FIVE = {
    "tree": FIVE_TIERS,
    "tau": (2, 1, 2, 1, 2),
    "rounds": 1,
    "links": [{"codec": "qsgd", "levels": 2**n - 1} for n in (3, 4, 5, 6, 7)],
}


@pytest.mark.parametrize("broker", ["mosquitto", "embedded"])
def test_processes_end_in_the_model_of_the_nested_loops(testbed, digest_alone, broker):
    bed = testbed(broker=broker)
    bed.start_fleet()
    assert bed.run()["model_digest"] == digest_alone()


def test_order_of_starting_changes_nothing(testbed, digest_alone):
    bed = testbed()
    bed.start_cloud("--out", bed.directory / "out")
    bed.start("e-0", "w-1", "east", "w-0", "west")
    assert bed.finished(bed.directory / "out")["model_digest"] == digest_alone()


@pytest.mark.parametrize("links", ["qsgd", "identity"])
def test_size_of_parts_changes_nothing(testbed, digest_alone, links):
    wanted = {} if links == "qsgd" else {"links": [{"codec": "identity"}] * 2}
    bed = testbed(part_bytes=4096, **wanted)
    bed.start_fleet()
    assert bed.run()["model_digest"] == digest_alone(part_bytes=65_536, **wanted)


def test_a_tree_of_five_tiers_with_children_below_higher_ones(testbed, digest_alone):
    bed = testbed(**FIVE)
    bed.start_fleet()
    report = bed.run()
    assert report["tiers"] == 5
    assert report["model_digest"] == digest_alone(**FIVE)


# In virtual time


@pytest.mark.parametrize(
    "times",
    [
        "",
        "[simulation]\nstep_s = 0.3\ntail = 1.5\n"
        + "[[simulation.link]]\nrate_bytes_per_s = 20_000\nlatency_s = 0.5\njitter_s = 2.0\n"
        + "loss = 0.1\n"
        + "[[simulation.link]]\nlatency_s = 3.0\n",
    ],
    ids=["no delays", "slow links, lost messages, stragglers"],
)
def test_simulated_nodes_end_in_the_same_model(write_federation, digest_alone, times):
    file = write_federation()
    file.write_text(file.read_text() + times)
    result = simulate(load(file))
    assert result.model_digest == digest_alone()
    assert result.report["clock"] == "virtual"


def test_simulated_nodes_of_five_tiers_too(write_federation, digest_alone):
    assert simulate(load(write_federation(**FIVE))).model_digest == digest_alone(**FIVE)


def test_simulated_sockets_carry_the_bytes_that_real_ones_do(testbed):
    """All but keep-alives and what is said while nodes wait for each other to start."""
    bed = testbed()
    bed.start_fleet()
    real = bed.run()["links"]
    simulated = simulate(bed.federation).report["links"]
    for one, other in zip(real, simulated, strict=True):
        for direction in ("bytes_up", "bytes_down"):
            assert one[direction] == pytest.approx(other[direction], rel=0.05), direction
        assert one["updates"] == other["updates"]
        assert one["q_mean"] == other["q_mean"]


def test_the_demos_federation_simulated_ends_in_the_demos_model(tmp_path):
    """Of the file that the demo ships, on its recordings; two rounds tell as much as a hundred."""
    shipped = REPOSITORY / "firmware_configs" / "federations" / "wearables-3-tier.toml"
    log_path, out = tmp_path / "log", tmp_path / "run"
    demo = Program.fedtier("demo", "--rounds", 2, "--out", out, log_path=log_path)
    assert demo.exit_code() == 0
    real = json.loads((out / "report.json").read_bytes())
    assert simulate(load(shipped), rounds=2).model_digest == real["model_digest"]
