"""Data that an artefact was not compiled for are refused before anything is computed."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fedtier.artefact.find import find_artefact
from fedtier.artefact.inputs import check_examples, check_labels
from fedtier.artefact.loss import Loss
from fedtier.artefact.manifest import ArtefactManifest
from fedtier.data.examples import Examples
from fedtier.errors import ConfigError


@pytest.fixture(scope="module")
def manifest():
    return find_artefact("package:imu").manifest


def examples(*, channels=6, labels=(0, 6)):
    x = np.zeros((len(labels), channels, 128), np.float32)
    return Examples(x=x, y=np.array(labels, np.int64))


def test_what_fits_is_let_through(manifest):
    check_examples(examples(), manifest, where="agent.toml [data]: the hold-out")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (examples(labels=()), "there is no example for imu-net"),
        (examples(channels=3), r"shape \(3, 128\), the artefact imu-net takes \(6, 128\)"),
        (
            examples(labels=(0, 7)),
            "labels run from 0 to 7, the artefact imu-net has classes 0 to 6",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(manifest, given, message):
    with pytest.raises(ConfigError, match=r"agent\.toml \[data\]: the hold-out: " + ".*" + message):
        check_examples(given, manifest, where="agent.toml [data]: the hold-out")


def tokens(*, low=0, high=9, dtype=np.int64):
    x = np.array([[low, 4, 5], [1, 2, high]], dtype)
    return Examples(x=x, y=np.array([0, 1], np.int64))


@pytest.fixture(scope="module")
def of_tokens(manifest):
    return replace(manifest, input_shape=(3,), input_dtype="int64", vocabulary=10)


def test_a_manifest_of_tokens_is_read_as_it_was_written(of_tokens):
    assert ArtefactManifest.parse(of_tokens.to_bytes(), where="here") == of_tokens
    without = of_tokens.to_bytes().replace(b'"vocabulary": 10', b'"words": 10')
    with pytest.raises(ConfigError, match=r"here: a key is missing or malformed.*vocabulary"):
        ArtefactManifest.parse(without, where="here")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (tokens(low=-1), "inputs run from -1 to 9, the artefact imu-net knows 0 to 9"),
        (tokens(high=10), "inputs run from 0 to 10"),
        (tokens(dtype=np.float32), "examples are float32, the artefact imu-net takes int64"),
    ],
)
def test_tokens_outside_the_vocabulary_are_refused(of_tokens, given, message):
    check_examples(tokens(), of_tokens, where="here")
    with pytest.raises(ConfigError, match=message):
        check_examples(given, of_tokens, where="here")


@pytest.mark.parametrize(
    ("kind", "y", "message"),
    [
        ("mse", np.zeros(2, np.int64), r"targets are classes.*by mse on numbers of shape \(2,\)"),
        ("mse", np.zeros((2, 3), np.float32), r"targets are numbers of shape \(3,\)"),
        ("cross_entropy", np.zeros((2, 2), np.float32), "by cross_entropy on classes"),
        ("bce", np.full((2, 2), 1.5, np.float32), "run from 1.5 to 1.5.*numbers from 0 to 1"),
        ("bce", np.full((2, 2), -0.5, np.float32), "compile with the loss mse"),
    ],
)
def test_targets_that_the_loss_does_not_take_are_refused(manifest, kind, y, message):
    shape = () if kind == "cross_entropy" else (2,)
    other = replace(manifest, loss=Loss(kind=kind), target_shape=shape)
    given = Examples(x=np.zeros((2, 6, 128), np.float32), y=y)
    with pytest.raises(ConfigError, match=message):
        check_examples(given, other, where="agent.toml [data]")


@pytest.mark.parametrize("spec", [{}, {"labels": None}])
def test_a_table_that_names_no_labels_is_let_through(manifest, spec):
    check_labels(spec, manifest, where="agent.toml [data]")
    check_labels({"labels": list(manifest.labels)}, manifest, where="agent.toml [data]")


def test_labels_in_another_order_or_number_are_refused_with_both_lists(manifest):
    swapped = [*manifest.labels[:5], manifest.labels[6], manifest.labels[5]]
    for labels in (swapped, manifest.labels[:6], [*manifest.labels, "swing"], ["Pendulum"]):
        with pytest.raises(ConfigError) as caught:
            check_labels({"labels": list(labels)}, manifest, where="agent.toml [data]")
        message = str(caught.value)
        assert message.startswith(f"agent.toml [data]: labels = {json.dumps(list(labels))}")
        assert f"imu-net has the classes {json.dumps(list(manifest.labels))}" in message


def test_names_of_classes_for_a_model_of_numbers_are_refused(manifest):
    other = replace(manifest, loss=Loss(kind="mse"), target_shape=(7,))
    check_labels({}, other, where="agent.toml [data]")
    with pytest.raises(ConfigError, match=r"labels name classes, and .* is trained by mse"):
        check_labels({"labels": list(manifest.labels)}, other, where="agent.toml [data]")
