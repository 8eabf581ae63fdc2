"""Dropout: masks are inputs of the training graph, and of no other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from cloud.compiler.compile import compile_module
from cloud.compiler.gate import ERROR_MAX, check_gradient
from edge_agent.trainer_onnx import OnnxTrainer
from edge_agent.trainer_torch import TorchTrainer
from fedtier.artefact.manifest import ArtefactManifest
from fedtier.artefact.masks import Mask
from fedtier.artefact.schedule import Schedule
from fedtier.artefact.torch_dropout import MaskedDropout
from fedtier.artefact.trainer import TrainTask
from fedtier.data.examples import Examples
from fedtier.errors import ConfigError
from fedtier.ids import IterationPath, NodeId


class Net(nn.Module):
    """Dropout as a layer, of whole channels, as a function, used twice, and one that does nothing.

    Smooth, so that the trainers can be compared over several steps.
    """

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(3, 4, 3)
        self.channels = nn.Dropout1d(0.5)
        self.again = nn.Dropout(0.25)
        self.nothing = nn.Dropout(0.0)
        self.last = nn.Linear(24, 5)

    def forward(self, x):
        hidden = self.nothing(self.again(torch.tanh(self.channels(self.first(x)))))
        hidden = self.again(hidden.flatten(1))
        return self.last(functional.dropout(hidden, 0.2, self.training))


def compiled():
    torch.manual_seed(3)
    module = Net()
    artefact = compile_module(
        module, name="net", input_shape=[3, 8], labels=list("abcde"), batch=8, out=None
    ).artefact
    return module, artefact


def test_each_call_in_training_is_a_mask_of_the_manifest_and_of_the_graph():
    module, artefact = compiled()
    assert artefact.manifest.masks == (
        Mask(name="mask0", shape=(8, 4, 1), keep=0.5),
        Mask(name="mask1", shape=(8, 4, 6), keep=0.75),
        Mask(name="mask2", shape=(8, 24), keep=0.75),
        Mask(name="mask3", shape=(8, 24), keep=0.8),
    )
    names = [i.name for i in artefact.train_session().get_inputs()]
    assert names == ["w", "x", "y", "mu", "mask0", "mask1", "mask2", "mask3"]
    assert [i.name for i in artefact.evaluate_session().get_inputs()] == ["w", "x"]
    manifest = artefact.manifest
    assert ArtefactManifest.parse(manifest.to_bytes(), where="here") == manifest
    assert check_gradient(module, artefact).gradient <= ERROR_MAX


def test_the_compiled_trainer_and_the_oracle_draw_the_same_masks():
    _, artefact = compiled()
    rng = np.random.default_rng(5)
    x = rng.standard_normal((20, 3, 8)).astype(np.float32)
    examples = Examples(x=x, y=rng.integers(0, 5, 20))

    def train(trainer, seed):
        task = TrainTask(
            model=artefact.initial(), seed=seed, path=IterationPath.parse("r1.0"),
            node=NodeId("d1"), steps=5, first_step=0, round_steps=5,
            schedule=Schedule(kind="constant", mu=0.1),
        )  # fmt: skip
        return trainer.train(task, examples, cancelled=lambda: False).model

    ours, oracle = OnnxTrainer(artefact), TorchTrainer(Net, artefact.manifest)
    # Values of about 1 and five steps: some ten float32 roundings each.
    np.testing.assert_allclose(train(ours, 11), train(oracle, 11), rtol=0, atol=2e-6)
    assert train(ours, 11).tobytes() == train(ours, 11).tobytes()


def test_a_mask_of_zeros_lets_nothing_through():
    _, artefact = compiled()
    rng = np.random.default_rng(1)
    feed = {
        "w": artefact.initial(),
        "x": rng.standard_normal((8, 3, 8)).astype(np.float32),
        "y": np.zeros(8, np.int64),
        "mu": np.asarray(1.0, np.float32),
    }
    masks = {mask.name: np.ones(mask.shape, np.float32) for mask in artefact.manifest.masks}
    masks["mask3"] = np.zeros((8, 24), np.float32)
    (w,) = artefact.train_session().run(["w_next"], {**feed, **masks})
    moved = artefact.layout.unflatten(w - artefact.initial())
    assert [name for name, delta in moved.items() if delta.any()] == ["last.bias"]


class Attentive(nn.Module):
    """Attention with dropout by hand, as a layer that gives its weights, and in an encoder."""

    def __init__(self):
        super().__init__()
        self.split = nn.Linear(6, 18)
        self.layer = nn.MultiheadAttention(6, 2, dropout=0.2, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.1, batch_first=True)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        dropout_p = 0.3 if self.training else 0.0
        query, key, value = self.split(x).chunk(3, -1)
        x = x + functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, dropout_p=dropout_p
        )
        x = x + self.layer(x, x, x)[0]
        return self.last(self.encoder(x).mean(1))


def test_the_weights_of_attention_are_dropped():
    torch.manual_seed(3)
    module = Attentive()
    artefact = compile_module(
        module, name="net", input_shape=[5, 6], labels=list("abc"), batch=4, out=None
    ).artefact
    found = [(mask.shape, round(mask.keep, 6)) for mask in artefact.manifest.masks]
    rows, inner = (4, 5, 6), (4, 5, 8)
    assert found == [
        ((4, 5, 5), 0.7),
        ((8, 5, 5), 0.8),  # a matrix for each head of each example
        ((4, 2, 5, 5), 0.9), (rows, 0.9), (inner, 0.9), (rows, 0.9),
    ]  # fmt: skip
    assert check_gradient(module, artefact).gradient <= ERROR_MAX


@pytest.mark.parametrize("given", ["nothing", "causal", "bool", "float"])
def test_attention_that_drops_nothing_is_torchs(given):
    rng = torch.Generator().manual_seed(1)
    query, key, value = torch.randn(3, 2, 4, 5, 6, generator=rng, dtype=torch.float64)
    allowed = torch.rand(5, 5, generator=rng) > 0.3
    allowed |= torch.eye(5, dtype=torch.bool)
    options = {
        "nothing": {"scale": 0.7},
        "causal": {"is_causal": True},
        "bool": {"attn_mask": allowed},
        "float": {"attn_mask": torch.randn(5, 5, generator=rng, dtype=torch.float64)},
    }[given]
    expected = functional.scaled_dot_product_attention(query, key, value, **options)
    with MaskedDropout(lambda shape, keep: torch.ones(shape, dtype=torch.float64)):
        found = functional.scaled_dot_product_attention(query, key, value, dropout_p=0.5, **options)
    # Numbers of about 1 in float64, in another order of operations.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


class Recurrent(nn.Module):
    """The output and the last states count, so that a wrong order of either would show."""

    def __init__(self, kind, *, options):
        super().__init__()
        self.layer = kind(3, 4, num_layers=3, dropout=0.5, **options)
        self.last = nn.LazyLinear(3)

    def forward(self, x):
        out, states = self.layer(x)
        ends = states if isinstance(states, tuple) else (states,)
        flat = [torch.cat(list(end), dim=-1) for end in ends]
        return self.last(torch.cat([out.mean(1), *flat], dim=-1))


RECURRENT = {
    "lstm": (nn.LSTM, {}, 4),
    "gru both ways": (nn.GRU, {"bidirectional": True}, 8),
    "rnn": (nn.RNN, {}, 4),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_between_recurrent_layers_the_outputs_are_dropped(name):
    kind, options, width = RECURRENT[name]
    torch.manual_seed(3)
    module = Recurrent(kind, options={"batch_first": True, **options})
    x = torch.randn(4, 5, 3)
    with torch.no_grad():
        module(x)
    artefact = compile_module(
        module, name="net", input_shape=[5, 3], labels=list("abc"), batch=4, out=None
    ).artefact
    assert [mask.shape for mask in artefact.manifest.masks] == 2 * [(4, 5, width)]
    assert check_gradient(module, artefact).gradient <= ERROR_MAX


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers_that_drop_nothing_are_torchs(name):
    kind, options, _ = RECURRENT[name]
    torch.manual_seed(3)
    layers = kind(3, 4, num_layers=3, dropout=0.5, **options).double()
    x = torch.randn(5, 4, 3, dtype=torch.float64)
    with MaskedDropout(lambda shape, keep: torch.ones(shape, dtype=torch.float64)):
        found = layers(x)
    torch.testing.assert_close(found, layers.eval()(x), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Dropout(1.0), "p = 1.0. Use one from 0 to below 1"),
        (nn.Dropout(inplace=True), "inplace=True. Use inplace=False"),
        (nn.AlphaDropout(), r"module 1 \(AlphaDropout\)"),
        (nn.LSTM(4, 4), "output is a tuple. Let forward return one tensor"),
    ],
)
def test_what_is_not_compiled_is_named(layer, message):
    module = nn.Sequential(nn.Linear(4, 4), layer)
    with pytest.raises(ConfigError, match=message):
        compile_module(module, name="n", input_shape=[4], labels=list("abcd"), batch=3, out=None)
