"""The plan names one of the artefact's lowerings, and the whole fleet trains by it."""

from __future__ import annotations

import re

import pytest
import torch
from reference import train_in_one_process
from small_federation import CLASSES, Wanted
from torch import nn

from cloud.compiler.compile import compile_module

ROUNDS = {"rounds": 2, "tau": (8, 2)}


@pytest.fixture(scope="module")
def artefact_dir(tmp_path_factory):
    """A convolution that comes out differently in the last bits by either lowering."""
    directory = tmp_path_factory.mktemp("lowerings")
    torch.manual_seed(3)
    module = nn.Sequential(
        nn.Conv1d(6, 8, 5, stride=4), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 31, CLASSES)
    )
    compile_module(
        module, name="two-lowerings", input_shape=[6, 128], out=directory, batch=8,
        labels=[f"class {number}" for number in range(CLASSES)], lowering="gemm,taps",
    )  # fmt: skip
    return directory


@pytest.mark.covers("R-9")
def test_all_devices_train_by_the_lowering_that_the_plan_names(testbed, artefact_dir, data_dir):
    def on_paper(plan):
        text = Wanted(**ROUNDS, plan=plan).text(artefact=str(artefact_dir), data=data_dir)
        return train_in_one_process(text)

    named = 'lowering = "taps"'
    bed = testbed(**ROUNDS, plan=named)
    bed.start_fleet()
    report = bed.run()
    assert report["lowering"] == "taps"
    assert report["model_digest"] == on_paper(named) != on_paper("")


@pytest.mark.covers("R-9")
def test_with_auto_each_device_says_what_it_took_and_the_report_that_it_was_free(testbed):
    bed = testbed(**ROUNDS, plan='lowering = "auto"')
    bed.start_fleet()
    assert bed.run()["lowering"] == "auto"
    for device in ("w-0", "w-1", "e-0"):
        assert (
            len(re.findall(r"lowering chosen  lowering=(gemm|taps) ", bed.nodes[device].log)) == 1
        )
