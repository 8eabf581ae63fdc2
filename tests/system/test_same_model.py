"""A federation of processes ends in the model that the nested loops on paper end in, to the bit."""

from __future__ import annotations

import pytest

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
    wanted = {
        "tree": FIVE_TIERS,
        "tau": (2, 1, 2, 1, 2),
        "rounds": 1,
        "links": [{"codec": "qsgd", "levels": 2**n - 1} for n in (3, 4, 5, 6, 7)],
    }
    bed = testbed(**wanted)
    bed.start_fleet()
    report = bed.run()
    assert report["tiers"] == 5
    assert report["model_digest"] == digest_alone(**wanted)
