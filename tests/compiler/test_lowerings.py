"""An artefact may hold several lowerings of one model; a plan, or the device, takes one of them."""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pytest
from compiled_models import model

from cloud.compiler.compile import compile_module
from edge_agent.graph_process import GraphProcess
from edge_agent.lowerings import Trainers
from edge_agent.trainer_onnx import OnnxTrainer
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.blob import decode_artefact, encode_artefact
from fedtier.artefact.schedule import Schedule
from fedtier.artefact.trainer import TrainTask
from fedtier.data.examples import Examples
from fedtier.errors import ConfigError, TrainingError
from fedtier.ids import IterationPath, NodeId


def compiled(lowering, *, name="strided", **options):
    module, shape, classes = model(name)
    return compile_module(
        module, name=name, input_shape=shape, labels=[f"class {i}" for i in range(classes)],
        batch=4, out=None, lowering=lowering, **options,
    ).artefact  # fmt: skip


@pytest.fixture(scope="module")
def both():
    return compiled("gemm,taps", microbatch=2)


def test_each_graph_is_the_one_that_its_lowering_alone_gives(both):
    gemm, taps = (compiled(lowering, microbatch=2) for lowering in ("gemm", "taps"))
    assert both.files == {
        **gemm.files,
        "train.taps.onnx": taps.files["train.onnx"],
        "gradient.taps.onnx": taps.files["gradient.onnx"],
    }
    assert both.manifest.lowerings == ("gemm", "taps")
    assert both.manifest.lowering == "gemm"


def test_an_artefact_of_one_lowering_says_nothing_of_others():
    assert b"lowerings" not in compiled("gemm").manifest.to_bytes()


def test_it_is_the_same_from_the_disk_and_over_the_network(both, tmp_path):
    both.write(tmp_path)
    assert Artefact.load(tmp_path).manifest == both.manifest
    found = decode_artefact(encode_artefact(both), digest=both.digest)
    assert found.files["train.taps.onnx"] == both.files["train.taps.onnx"]


@pytest.mark.parametrize(
    ("lowering", "message"),
    [
        ("gemm,magic", "lowering 'magic' is unknown. Use one of conv, taps, gemm"),
        ("gemm,", "lowering '' is unknown"),
        ("taps, gemm, taps", "names taps twice"),
    ],
)
def test_names_that_are_no_lowerings_or_come_twice_are_refused(lowering, message):
    with pytest.raises(ConfigError, match=message):
        compiled(lowering)


def test_lowerings_that_are_one_and_the_same_for_a_model_are_refused():
    with pytest.raises(ConfigError, match="'taps' makes of mlp the same graph as 'conv'"):
        compiled("conv,taps", name="mlp")


# On the device


def task(artefact):
    return TrainTask(
        model=artefact.initial(), seed=1, path=IterationPath.parse("r0.0"), node=NodeId("d1"),
        steps=3, first_step=0, round_steps=3, schedule=Schedule(kind="constant", mu=0.1),
    )  # fmt: skip


def trained(trainer, artefact):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((12, *artefact.manifest.input_shape)).astype(np.float32)
    given = Examples(x=x, y=rng.integers(0, artefact.manifest.classes, 12))
    return trainer.train(task(artefact), given, cancelled=lambda: False).model


@pytest.fixture
def trainers(both):
    graphs = GraphProcess({name: data for name, data in both.files.items() if name[-5:] == ".onnx"})
    yield Trainers(both, graphs)
    graphs.end()


@pytest.mark.covers("R-9")
@pytest.mark.parametrize(("asked", "file"), [("", "gemm"), ("gemm", "gemm"), ("taps", "taps")])
def test_a_device_trains_by_the_lowering_that_the_plan_names(both, trainers, asked, file):
    found = trained(trainers.trainer(asked, both.initial()), both)
    np.testing.assert_array_equal(found, trained(OnnxTrainer(compiled(file)), both))


@pytest.mark.covers("R-9")
def test_a_lowering_that_is_not_there_is_a_reason_to_abstain(both, trainers):
    with pytest.raises(TrainingError, match="'conv' is asked for, and the artefact strided has"):
        trainers.trainer("conv", both.initial())


def test_timing_ends_as_soon_as_its_work_is_not_wanted(both, trainers):
    asked = itertools.count()
    stopped = trainers.trainer("auto", both.initial(), cancelled=lambda: next(asked) == 3)
    assert stopped is None
    assert next(asked) == 4
    assert trainers.trainer("auto", both.initial()) is not None  # another time


@pytest.mark.covers("R-9")
def test_auto_times_each_lowering_once_and_says_which_it_takes(both, trainers, caplog):
    caplog.set_level(logging.INFO)
    first, again = (trainers.trainer("auto", both.initial()) for _ in range(2))
    assert first is again
    (chosen,) = [record for record in caplog.records if record.message == "lowering chosen"]
    times = {name: getattr(chosen, f"{name}_ms") for name in both.manifest.lowerings}
    assert times[chosen.lowering] == min(times.values()) > 0
    assert first is trainers.trainer(chosen.lowering, both.initial())
