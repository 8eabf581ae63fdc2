"""Running statistics of batch normalisation: part of the model, moved by steps, used afterwards."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from cloud.compiler.compile import compile_module
from fedtier.artefact.evaluate import predict
from fedtier.artefact.session import make_session
from fedtier.errors import ConfigError

ROWS = 6


class Net(nn.Module):
    """A normalisation among constants: a buffer, and a tensor that is none."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(3, 4, 3)
        self.norm = nn.BatchNorm1d(4, momentum=0.2)
        self.last = nn.Linear(4, 3)
        self.register_buffer("places", torch.linspace(-1, 1, 6))
        self.level = torch.tensor([0.5, -0.5, 0.25])

    def forward(self, x):
        return self.last(torch.relu(self.norm(self.first(x)) + self.places).mean(-1)) + self.level


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(2)
    return Net()


@pytest.fixture(scope="module")
def artefact(net):
    return compile_module(
        net, name="net", input_shape=(3, 8), labels=list("abc"), batch=ROWS, out=None
    ).artefact


def batch():
    rng = np.random.default_rng(8)
    return rng.standard_normal((ROWS, 3, 8)).astype(np.float32), rng.integers(0, 3, ROWS)


def test_the_statistics_stand_behind_the_parameters_under_their_names_of_the_state_dict(
    net, artefact
):
    names = [tensor.name for tensor in artefact.layout.tensors]
    assert names == [name for name, _ in net.named_parameters()] + [
        "norm.running_mean",
        "norm.running_var",
    ]
    assert set(names) < set(net.state_dict())
    start = artefact.layout.unflatten(artefact.initial())
    assert (start["norm.running_mean"] == 0).all()
    assert (start["norm.running_var"] == 1).all()


@pytest.mark.parametrize("mu", [0.0, 0.1])
def test_a_step_moves_them_as_torch_does_whatever_its_size(net, artefact, mu):
    x, y = batch()
    feed = {"w": artefact.initial(), "x": x, "y": y, "mu": np.asarray(mu, np.float32)}
    (w,) = artefact.train_session().run(["w_next"], feed)
    found = artefact.layout.unflatten(w)
    with torch.no_grad():
        seen = net.first(torch.from_numpy(x))
    mean, var = seen.mean((0, 2)), seen.var((0, 2), unbiased=True)
    # A handful of float32 roundings of numbers about 1.
    np.testing.assert_allclose(found["norm.running_mean"], 0.2 * mean, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["norm.running_var"], 0.8 + 0.2 * var, rtol=0, atol=1e-6)


def test_predictions_use_them_row_by_row(net, artefact):
    x, _ = batch()
    w = artefact.initial()
    w[-8:-4], w[-4:] = [0.1, -0.2, 0.3, 0.0], [0.5, 1.0, 2.0, 4.0]
    whole = predict(artefact.evaluate_session(), w, x)
    alone = np.concatenate([predict(artefact.evaluate_session(), w, row[None]) for row in x])
    np.testing.assert_array_equal(whole, alone)
    net.load_state_dict(
        {name: torch.tensor(part) for name, part in artefact.layout.unflatten(w).items()},
        strict=False,
    )
    with torch.no_grad():
        expected = net.eval()(torch.from_numpy(x))
    net.train()
    # Two float32 summation orders of numbers about 1.
    np.testing.assert_allclose(whole, expected, rtol=0, atol=1e-5)


def test_a_variance_below_zero_counts_as_zero(artefact, tmp_path):
    x, _ = batch()
    w = artefact.initial()
    w[-4:] = [1.0, 0.0, 2.0, 0.0]
    expected = predict(artefact.evaluate_session(), w, x)
    w[-4:] = [1.0, -3e-4, 2.0, -1.0]  # what a mean of rounded updates may leave
    np.testing.assert_array_equal(predict(artefact.evaluate_session(), w, x), expected)
    for name, content in artefact.inference_files(w).items():
        (tmp_path / name).write_bytes(content)
    (logits,) = make_session(tmp_path / "infer.onnx").run(["logits"], {"x": x[:1]})
    # The same numbers but for the fusions that constants allow.
    np.testing.assert_allclose(logits, expected[:1], rtol=1e-4, atol=1e-4)


def test_the_module_keeps_its_own_statistics():
    torch.manual_seed(2)
    net = Net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    compile_module(net, name="net", input_shape=(3, 8), labels=list("abc"), batch=4, out=None)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_no_optimiser_acts_on_them(net, artefact):
    vectors = ("velocity", "anchor", "correction")
    pulled = compile_module(
        net, name="net", input_shape=(3, 8), labels=list("abc"), batch=ROWS, out=None,
        momentum=0.9, nesterov=True, weight_decay=0.5, prox=2.0, correction=True,
    ).artefact  # fmt: skip
    trained = pulled.manifest.parameters
    assert trained == sum(parameter.numel() for parameter in net.parameters())
    assert trained == pulled.manifest.dimension - 8
    x, y = batch()
    feed = {"w": pulled.initial(), "x": x, "y": y, "mu": np.asarray(0.1, np.float32)}
    rng = np.random.default_rng(4)
    drawn = {name: rng.standard_normal(trained).astype(np.float32) for name in vectors}
    moved, velocity = pulled.train_session().run(["w_next", "velocity_next"], {**feed, **drawn})
    (plain,) = artefact.train_session().run(["w_next"], feed)
    assert velocity.shape == (trained,)
    assert (moved[:trained] != plain[:trained]).all()
    assert moved[trained:].tobytes() == plain[trained:].tobytes()


def test_a_batch_of_one_is_refused_with_its_layer():
    with pytest.raises(ConfigError, match=r"module norm \(BatchNorm1d\).*more than 1 value"):
        compile_module(
            nn.Sequential(OrderedDict(first=nn.Linear(4, 4), norm=nn.BatchNorm1d(4))),
            name="net", input_shape=(4,), labels=list("abcd"), batch=1, out=None,
        )  # fmt: skip
