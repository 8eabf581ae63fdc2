"""docs/models.md says what the compiler takes, and its layers compile or are refused as it says."""

from __future__ import annotations

import inspect
import re

import pytest
import torch
import typer
from data_tables import ROOT
from torch import nn

from cloud.compiler.by_name import SEED_DEFAULT
from cloud.compiler.commands import app
from cloud.compiler.compile import compile_module
from fedtier.artefact.manifest import FILES, GRADIENT_FILE, MANIFEST_FILE
from fedtier.errors import ConfigError

TEXT = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
NAME = re.compile(r"`([^`]+)`")
SERIES, IMAGE, VECTOR = (3, 16), (2, 8, 8), (12,)


class Sequence(nn.Module):
    """A recurrent or attentive layer over the rows of a series."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x):
        rows = x.transpose(1, 2)
        if isinstance(self.layer, nn.MultiheadAttention):
            return self.layer(rows, rows, rows, need_weights=False)[0]
        if isinstance(self.layer, nn.TransformerEncoder | nn.TransformerEncoderLayer):
            return self.layer(rows)
        return self.layer(rows)[0]


class Unpooled(nn.Module):
    def forward(self, x):
        best, places = nn.functional.max_pool2d(x, 2, return_indices=True)
        return nn.functional.max_unpool2d(best, places, 2)


class Twice(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x, x)


class Words(nn.Module):
    """Picks by comparisons, so that an embedding may stand among floats."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)

    def forward(self, x):
        return self.table((x > 0).long()) * x.unsqueeze(-1)


def encoder_layer() -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(3, 1, 8, dropout=0.1, batch_first=True)


COMPILED = {
    "Linear": (nn.Linear(12, 8), VECTOR),
    "Flatten": (nn.Flatten(), SERIES),
    "Conv1d": (nn.Conv1d(3, 6, 3, stride=2, padding=1, dilation=2, groups=3), SERIES),
    "Conv2d": (nn.Conv2d(2, 4, 3, stride=2, padding=1, dilation=2, groups=2), IMAGE),
    "MaxPool1d": (nn.MaxPool1d(2), SERIES),
    "MaxPool2d": (nn.MaxPool2d(3, stride=2, padding=1), IMAGE),
    "AvgPool1d": (nn.AvgPool1d(2), SERIES),
    "AvgPool2d": (nn.AvgPool2d(3, stride=2, padding=1), IMAGE),
    "AdaptiveAvgPool1d": (nn.AdaptiveAvgPool1d(1), SERIES),
    "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d(3), IMAGE),
    "AdaptiveMaxPool1d": (nn.AdaptiveMaxPool1d(1), SERIES),
    "AdaptiveMaxPool2d": (nn.AdaptiveMaxPool2d(3), IMAGE),
    "BatchNorm1d": (nn.BatchNorm1d(3), SERIES),
    "BatchNorm2d": (nn.BatchNorm2d(2), IMAGE),
    "GroupNorm": (nn.GroupNorm(1, 3), SERIES),
    "LayerNorm": (nn.LayerNorm(16), SERIES),
    "RMSNorm": (nn.RMSNorm(16), SERIES),
    "InstanceNorm1d": (nn.InstanceNorm1d(3, affine=True), SERIES),
    "InstanceNorm2d": (nn.InstanceNorm2d(2), IMAGE),
    "ReLU": (nn.ReLU(), VECTOR),
    "ReLU6": (nn.ReLU6(), VECTOR),
    "LeakyReLU": (nn.LeakyReLU(), VECTOR),
    "PReLU": (nn.PReLU(), VECTOR),
    "ELU": (nn.ELU(), VECTOR),
    "SELU": (nn.SELU(), VECTOR),
    "CELU": (nn.CELU(), VECTOR),
    "GELU": (nn.GELU(), VECTOR),
    "SiLU": (nn.SiLU(), VECTOR),
    "Mish": (nn.Mish(), VECTOR),
    "Hardswish": (nn.Hardswish(), VECTOR),
    "Hardsigmoid": (nn.Hardsigmoid(), VECTOR),
    "Hardtanh": (nn.Hardtanh(), VECTOR),
    "Sigmoid": (nn.Sigmoid(), VECTOR),
    "Tanh": (nn.Tanh(), VECTOR),
    "Softplus": (nn.Softplus(), VECTOR),
    "Softmax": (nn.Softmax(1), VECTOR),
    "LogSoftmax": (nn.LogSoftmax(1), VECTOR),
    "Embedding": (Words(), VECTOR),
    "MultiheadAttention": (Sequence(nn.MultiheadAttention(3, 1, batch_first=True)), SERIES),
    "TransformerEncoderLayer": (Sequence(encoder_layer()), SERIES),
    "TransformerEncoder": (
        Sequence(nn.TransformerEncoder(encoder_layer(), 1, enable_nested_tensor=False)),
        SERIES,
    ),
    "LSTM": (Sequence(nn.LSTM(3, 4, batch_first=True)), SERIES),
    "GRU": (Sequence(nn.GRU(3, 4, batch_first=True)), SERIES),
    "RNN": (Sequence(nn.RNN(3, 4, batch_first=True)), SERIES),
    "Dropout": (nn.Dropout(), VECTOR),
    "Dropout1d": (nn.Dropout1d(), SERIES),
    "Dropout2d": (nn.Dropout2d(), IMAGE),
}
REFUSED = {
    "AlphaDropout": (nn.AlphaDropout(), VECTOR),
    "ConvTranspose1d": (nn.ConvTranspose1d(3, 4, 3), SERIES),
    "Conv3d": (nn.Conv3d(1, 2, 2), (1, 3, 4, 4)),
    "MaxUnpool2d": (Unpooled(), IMAGE),
    "Bilinear": (Twice(nn.Bilinear(12, 12, 4)), VECTOR),
}


def first_columns(heading: str) -> list[set[str]]:
    """The names in the first column of each table of a section."""
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    tables = [block for block in section.strip().split("\n\n") if block.startswith("|")]
    return [
        {name for row in table.splitlines()[2:] for name in NAME.findall(row.split("|")[1])}
        for table in tables
    ]


def compile_with(layer: nn.Module, shape: tuple[int, ...], *, lowering: str = "conv") -> None:
    """Compile a net around a layer, with parameters before it so that its slopes are needed."""
    before: dict[int, nn.Module] = {1: nn.Linear(shape[-1], shape[-1])}
    before |= {2: nn.Conv1d(shape[0], shape[0], 1), 3: nn.Conv2d(shape[0], shape[0], 1)}
    head = before.get(len(shape), nn.Identity())
    with torch.no_grad():
        size = layer(torch.zeros(2, *shape)).flatten(1).shape[1]
    module = nn.Sequential(head, layer, nn.Flatten(), nn.Linear(size, 4))
    compile_module(
        module, name="net", input_shape=shape, labels=list("abcd"), batch=3, out=None,
        lowering=lowering,
    )  # fmt: skip


def test_the_layers_of_the_page_are_those_that_are_tried_here():
    assert first_columns("What compiles") == [set(COMPILED), set(REFUSED)]


@pytest.mark.parametrize("name", COMPILED)
def test_a_layer_that_compiles_does(name):
    compile_with(*COMPILED[name])


@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_that_is_refused_is(name):
    with pytest.raises(ConfigError, match=r"^module \S+ \(|^the module"):
        compile_with(*REFUSED[name])


def test_the_options_and_their_defaults_are_those_of_the_command():
    rows = re.findall(r"^\| `(--[a-z-]+)` \| (.+?) \|", TEXT, re.MULTILINE)
    target, *options = typer.main.get_command(app).params
    assert target.name == "target"
    assert [name for name, _ in rows] == [option.opts[0] for option in options]
    parameters = inspect.signature(compile_module).parameters
    for name, default in rows:
        if name == "--seed":
            assert default == f"`{SEED_DEFAULT}`"
        elif name != "--out":
            wanted = parameters[name[2:].replace("-", "_")].default
            words = {inspect.Parameter.empty: "required", (): "none", None: "none"}
            assert default == words.get(wanted, f"`{wanted}`"), name


def test_the_files_of_an_artefact_are_those_of_the_page():
    assert first_columns("What an artefact holds") == [{*FILES, GRADIENT_FILE, MANIFEST_FILE}]
