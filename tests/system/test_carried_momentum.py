"""Momentum that devices carry on: the same model to the bit, whoever is killed."""

from __future__ import annotations

import re
import signal

import pytest
import torch
from reference import train_in_one_process
from small_federation import CLASSES, Wanted
from torch import nn

from cloud.compiler.compile import compile_module

CARRIED = {"rounds": 8, "tau": (8, 2), "plan": 'carry = "iteration"'}


@pytest.fixture(scope="module")
def artefact_dir(tmp_path_factory):
    """A model with all that a step draws, takes or keeps: masks, velocity, anchor, statistics."""
    directory = tmp_path_factory.mktemp("momentum")
    torch.manual_seed(3)
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(768, 12), nn.Tanh(), nn.BatchNorm1d(12), nn.Dropout(0.2),
        nn.Linear(12, CLASSES),
    )  # fmt: skip
    compile_module(
        module, name="momentum-net", input_shape=[6, 128], out=directory, batch=8,
        labels=[f"class {number}" for number in range(CLASSES)], momentum=0.5, prox=0.01,
    )  # fmt: skip
    return directory


@pytest.fixture
def digest_on_paper(artefact_dir, data_dir):
    """The digest that the nested loops give, in which each device keeps its velocity."""

    def compute(**wanted):
        return train_in_one_process(
            Wanted(**wanted).text(artefact=str(artefact_dir), data=data_dir)
        )

    return compute


def momenta(bed, node):
    """What a device started each of its iterations with."""
    return re.findall(r"trained .* momentum=(\w+)", bed.nodes[node].log)


@pytest.mark.parametrize("victim", ["w-0", "west", "cloud"])
def test_a_node_killed_in_mid_run_changes_nothing_of_what_is_carried(
    testbed, digest_on_paper, victim
):
    bed = testbed(**CARRIED)
    out = bed.directory / "out"
    bed.start_fleet()
    bed.start_cloud("--out", out)
    for rounds in (1, 3):  # twice, so that what was carried over a kill is carried on again
        bed.wait_until(lambda least=rounds: len(bed.rows(out)) >= least, f"{rounds} rounds closed")
        bed.restart(victim, *(("--out", out) if victim == "cloud" else ()))
    assert len(bed.rows(out)) < CARRIED["rounds"], "it was killed too late"
    assert bed.finished(out)["model_digest"] == digest_on_paper(**CARRIED)
    for device in ("w-0", "w-1", "e-0"):
        found = momenta(bed, device)
        assert found[0] == "zero"
        # One line for each of the 16 iterations; one killed as it was logged may lack its own.
        assert set(found[1:]) == {"carried"}
        assert len(found) >= 14


def test_what_is_carried_shows_in_the_model_and_goes_no_further_than_the_run(
    testbed, digest_on_paper
):
    wanted = {**CARRIED, "rounds": 2}
    bed = testbed(**wanted)
    bed.start_fleet()
    first, second = bed.run(), bed.run()
    assert first["model_digest"] == second["model_digest"] == digest_on_paper(**wanted)
    assert first["model_digest"] != digest_on_paper(**{**wanted, "plan": ""})
    assert momenta(bed, "w-0") == 2 * ["zero", *3 * ["carried"]]


def test_a_device_that_was_away_starts_from_zero(testbed):
    wanted = {**CARRIED, "rounds": 1000}
    wanted["plan"] += '\nquorum = [1, "all"]\ndeadline_s = [0.5, "none"]'
    bed = testbed(**wanted)
    bed.start_fleet()
    bed.start_cloud("--out", bed.directory / "out")
    bed.wait_until(lambda: "carried" in momenta(bed, "w-1"), "w-1 has carried on")
    bed.nodes["w-1"].signal(signal.SIGSTOP)
    west = bed.nodes["west"]
    closed = r"iteration closed .*answered=1 members=2"
    bed.wait_until(
        lambda: len(re.findall(closed, west.log)) >= 2, "two iterations close without it"
    )
    before = len(momenta(bed, "w-1"))
    bed.restart("w-1")  # let go on, it might do first what had come for it before it was away
    bed.wait_until(lambda: len(momenta(bed, "w-1")) > before, "it trains again")
    assert momenta(bed, "w-1")[before] == "zero"
