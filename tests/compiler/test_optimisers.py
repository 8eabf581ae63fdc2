"""Compiled optimisers: a step is the one that torch takes, and takes what it needs and no more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compiled_models import model

from cloud.compiler.compile import compile_module
from cloud.compiler.gate import ERROR_MAX, check_gradient
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.manifest import ArtefactManifest
from fedtier.artefact.optimiser import Optimiser
from fedtier.errors import ConfigError

EVERYTHING = {
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 1e-2,
    "prox": 0.1,
    "correction": True,
}


def compiled(**options):
    module, shape, classes = model("mlp")
    artefact = compile_module(
        module,
        name="mlp",
        input_shape=shape,
        labels=[str(index) for index in range(classes)],
        batch=8,
        out=None,
        **options,
    ).artefact
    return module, artefact


@pytest.mark.parametrize(
    ("options", "inputs", "outputs"),
    [
        ({}, [], []),
        ({"weight_decay": 1e-2}, [], []),
        ({"momentum": 0.9}, ["velocity"], ["velocity_next"]),
        ({"momentum": 0.9, "nesterov": True}, ["velocity"], ["velocity_next"]),
        ({"prox": 0.1}, ["anchor"], []),
        ({"correction": True}, ["correction"], []),
        (EVERYTHING, ["velocity", "anchor", "correction"], ["velocity_next"]),
    ],
)
def test_a_compiled_step_is_torchs_and_takes_only_what_it_uses(options, inputs, outputs):
    module, artefact = compiled(**options)
    session = artefact.train_session()
    assert [i.name for i in session.get_inputs()] == ["w", "x", "y", "mu", *inputs]
    assert [o.name for o in session.get_outputs()] == ["loss", "w_next", *outputs]
    # A step adds at most five vectors to the gradient: a few float32 roundings on top of its own.
    assert check_gradient(module, artefact).step <= ERROR_MAX


@pytest.mark.parametrize(
    "change",
    [
        {"momentum": 0.8},
        {"nesterov": False},
        {"weight_decay": 2e-2},
        {"prox": 0.2},
    ],
)
def test_the_gate_sees_every_term_of_a_step(change):
    module, artefact = compiled(**EVERYTHING)
    said = replace(artefact.manifest, optimiser=Optimiser(**{**EVERYTHING, **change}))
    other = Artefact.verify(said, artefact.files, where="other")
    with pytest.raises(ConfigError, match="against float64"):
        check_gradient(module, other)


def test_a_correction_is_added_to_the_gradient():
    _, artefact = compiled(correction=True)
    rng = np.random.default_rng(1)
    feed = {
        "w": artefact.initial(),
        "x": rng.standard_normal((8, 8, 8)).astype(np.float32),
        "y": rng.integers(0, 5, 8),
        "mu": np.asarray(0.5, np.float32),
    }
    correction = rng.standard_normal(artefact.manifest.dimension).astype(np.float32)
    session = artefact.train_session()
    (without,) = session.run(["w_next"], {**feed, "correction": np.zeros_like(correction)})
    (moved,) = session.run(["w_next"], {**feed, "correction": correction})
    # Each of the two models is rounded once to float32, at values of about 1.
    np.testing.assert_allclose(moved - without, -0.5 * correction, rtol=0, atol=5e-7)


def test_a_plain_step_is_compiled_to_the_same_bytes_as_before_there_was_a_choice():
    plain, named = compiled()[1], compiled(momentum=0.0, weight_decay=0.0, prox=0.0)[1]
    assert plain.files == named.files


def test_a_manifest_tells_its_optimiser():
    manifest = compiled(**EVERYTHING)[1].manifest
    assert ArtefactManifest.parse(manifest.to_bytes(), where="here") == manifest
    assert manifest.optimiser == Optimiser(**EVERYTHING)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.0}, r"momentum = 1.0 is outside \[0, 1\)"),
        ({"momentum": float("nan")}, "momentum = nan"),
        ({"nesterov": True}, "nesterov needs momentum"),
        ({"weight_decay": -0.1}, r"weight_decay = -0.1 is outside \[0, 1\)"),
        ({"prox": 1e3}, r"prox = 1000.0 is outside \[0, 1000\)"),
    ],
)
def test_an_optimiser_out_of_range_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        compiled(**options)
