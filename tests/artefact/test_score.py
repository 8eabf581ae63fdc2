"""Scoring a model: whole numbers, whatever the batches."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import fedtier.demo
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.evaluate import Score, predict, score
from fedtier.data.examples import Examples
from fedtier.errors import TrainingError

SHIPPED = Path(fedtier.demo.__file__).parent / "artefact"


@pytest.fixture(scope="module")
def artefact():
    return Artefact.load(SHIPPED)


@pytest.fixture(scope="module")
def session(artefact):
    return artefact.evaluate_session()


def examples(count, seed=0):
    rng = np.random.default_rng(seed)
    return Examples(
        x=rng.standard_normal((count, 6, 128)).astype(np.float32), y=rng.integers(0, 7, count)
    )


def test_the_figures_are_those_of_a_plain_computation(artefact, session):
    given = examples(200)  # one batch and a part of another
    found = score(session, artefact.initial(), given)
    logits = predict(session, artefact.initial(), given.x)
    units = correct = 0
    for row, label in zip(logits.astype(float).tolist(), given.y.tolist(), strict=True):
        log_sum = math.log(math.fsum(math.exp(logit) for logit in row))
        units += round((log_sum - row[label]) * 2**20)
        correct += max(range(7), key=row.__getitem__) == label
    assert (found.examples, found.correct) == (200, correct)
    # The last bit of log and exp may tip a rounding; nothing else may differ.
    assert abs(found.loss_units - units) <= 2
    assert found.accuracy == correct / 200
    assert found.loss == pytest.approx(units / 2**20 / 200, rel=1e-6)


def test_a_models_loss_at_zero_parameters_is_the_logarithm_of_the_classes(artefact, session):
    found = score(session, np.zeros_like(artefact.initial()), examples(3))
    assert found.loss_units == 3 * round(math.log(7) * 2**20)


def test_parts_add_up_to_the_whole(artefact, session):
    whole = examples(150)
    parts = [
        Examples(x=np.ascontiguousarray(whole.x[rows]), y=whole.y[rows])
        for rows in (slice(0, 128), slice(128, 150))
    ]
    first, second = (score(session, artefact.initial(), part) for part in parts)
    assert first + second == score(session, artefact.initial(), whole)


def test_no_examples_score_nothing(artefact, session):
    empty = Examples(x=np.zeros((0, 6, 128), np.float32), y=np.zeros(0, np.int64))
    found = score(session, artefact.initial(), empty)
    assert found == Score(examples=0, correct=0, loss_units=0)
    assert (found.accuracy, found.loss) == (None, 0.0)
    assert predict(session, artefact.initial(), empty.x).shape == (0, 7)


def test_an_enormous_loss_is_cut_so_that_sums_stay_whole_numbers(artefact, session):
    model = artefact.layout.unflatten(np.zeros_like(artefact.initial()))
    model["classify.bias"][:] = [3e38, 0, 0, 0, 0, 0, 0]
    given = Examples(x=np.zeros((2, 6, 128), np.float32), y=np.array([0, 1]))
    found = score(session, artefact.layout.flatten(model), given)
    assert (found.correct, found.loss_units) == (1, 2**40)


def test_a_diverged_model_is_an_error_and_not_a_figure(artefact, session):
    with pytest.raises(TrainingError, match="not finite: it diverged"):
        score(session, np.full_like(artefact.initial(), np.nan), examples(2))
