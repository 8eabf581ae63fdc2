"""Every layer of docs/models.md in its variants: compiled, its gradient is float64 autograd's.

Compiling runs the release gate, which raises if the gradient, one tensor of it or the logits are
off; so to compile is the test.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cloud.compiler.compile import compile_module

torch.manual_seed(5)
VECTOR, SERIES, IMAGE = (12,), (4, 17), (4, 9, 8)


def compile_around(layer, shape, *, lowering="conv"):
    """Compile a net around a layer, with parameters before it so that its slopes are needed."""
    with torch.no_grad():
        size = layer.eval()(torch.zeros(2, *shape)).flatten(1).shape[1]
    first = nn.Linear(shape[-1], shape[-1])
    module = nn.Sequential(first, layer, nn.Flatten(), nn.Linear(size, 3))
    compile_module(
        module, name="net", input_shape=shape, labels=list("abc"), batch=5, out=None,
        lowering=lowering,
    )  # fmt: skip


CONVOLUTIONS = {
    "1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1), SERIES),
    "1d same": (nn.Conv1d(4, 6, 5, padding="same", bias=False), SERIES),
    "1d padded apart": (nn.Sequential(nn.ConstantPad1d((2, 1), 0.5), nn.Conv1d(4, 6, 4)), SERIES),
    "1d groups": (nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2), SERIES),
    "1d depthwise": (nn.Conv1d(4, 4, 5, padding=2, groups=4), SERIES),
    "2d": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), IMAGE),
    "2d groups": (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), IMAGE),
    "2d depthwise": (nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4), IMAGE),
    "2d depthwise twice": (nn.Conv2d(4, 8, 3, dilation=2, padding=2, groups=4, bias=False), IMAGE),
}


@pytest.mark.parametrize("lowering", ["conv", "taps", "gemm"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name, lowering):
    compile_around(*CONVOLUTIONS[name], lowering=lowering)


ACTIVATIONS = {
    "relu": nn.ReLU(inplace=True),
    "relu6": nn.ReLU6(),
    "hardtanh": nn.Hardtanh(-0.5, 0.7),
    "gelu": nn.GELU(),
    "gelu tanh": nn.GELU("tanh"),
    "silu": nn.SiLU(inplace=True),
    "mish": nn.Mish(),
    "hardswish": nn.Hardswish(),
    "hardsigmoid": nn.Hardsigmoid(),
    "sigmoid": nn.Sigmoid(),
    "logsigmoid": nn.LogSigmoid(),
    "tanh": nn.Tanh(),
    "tanhshrink": nn.Tanhshrink(),
    "softsign": nn.Softsign(),
    "leaky relu": nn.LeakyReLU(0.2),
    "leaky relu in place": nn.LeakyReLU(0.1, inplace=True),
    "prelu": nn.PReLU(),
    "elu": nn.ELU(0.7),
    "elu in place": nn.ELU(inplace=True),
    "selu": nn.SELU(),
    "celu": nn.CELU(0.8),
    "softplus": nn.Softplus(2.0),
    "softmax": nn.Softmax(1),
    "log softmax": nn.LogSoftmax(1),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    compile_around(ACTIVATIONS[name], VECTOR)


NORMS = {
    "batch of vectors": (nn.BatchNorm1d(12), VECTOR),
    "batch of series": (nn.BatchNorm1d(4, momentum=0.3), SERIES),
    "batch of images": (nn.BatchNorm2d(4, eps=1e-3), IMAGE),
    "batch without gains": (nn.BatchNorm2d(4, affine=False), IMAGE),
    "instance": (nn.InstanceNorm1d(4, affine=True), SERIES),
    "group": (nn.GroupNorm(2, 4), SERIES),
    "group without gains": (nn.GroupNorm(4, 4, affine=False), IMAGE),
    "layer": (nn.LayerNorm(12), VECTOR),
    "layer of rows": (nn.LayerNorm(17, eps=1e-3), SERIES),
    "layer of two axes": (nn.LayerNorm((9, 8), bias=False), IMAGE),
    "layer without gains": (nn.LayerNorm(17, elementwise_affine=False), SERIES),
    "rms": (nn.RMSNorm(17), SERIES),
}


@pytest.mark.parametrize("name", NORMS)
def test_normalisations(name):
    compile_around(*NORMS[name])


POOLINGS = {
    "max apart": (nn.MaxPool2d(2), IMAGE),
    "max overlapping": (nn.MaxPool2d(3, stride=2, padding=1), IMAGE),
    "max at stride 1": (nn.MaxPool2d((2, 3), stride=1), IMAGE),
    "max dilated": (nn.MaxPool2d(2, stride=2, dilation=2), IMAGE),
    "max with part windows": (nn.MaxPool2d(2, ceil_mode=True), IMAGE),
    "max leaving places over": (nn.MaxPool1d(2, stride=3), SERIES),
    "max of a series": (nn.MaxPool1d(5, stride=2, padding=2), SERIES),
    "average apart": (nn.AvgPool2d(2), IMAGE),
    "average overlapping": (nn.AvgPool2d(3, stride=2, padding=1), IMAGE),
    "average of what is there": (nn.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGE),
    "average with part windows": (nn.AvgPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    "average by a divisor": (nn.AvgPool2d(3, 1, divisor_override=4), IMAGE),
    "average of a series": (nn.AvgPool1d(3, stride=2, padding=1), SERIES),
    "adaptive average": (nn.AdaptiveAvgPool2d((4, 3)), IMAGE),
    "adaptive average to one": (nn.AdaptiveAvgPool2d(1), IMAGE),
    "adaptive average of a series": (nn.AdaptiveAvgPool1d(5), SERIES),
    "adaptive max": (nn.AdaptiveMaxPool2d((4, 3)), IMAGE),
    "adaptive max evenly": (nn.AdaptiveMaxPool2d((3, 4)), IMAGE),
    "adaptive max to one": (nn.AdaptiveMaxPool1d(1), SERIES),
}


@pytest.mark.parametrize("name", POOLINGS)
def test_poolings(name):
    compile_around(*POOLINGS[name])


class GlobalMaximum(nn.Module):
    def forward(self, x):
        return torch.cat([x.max(dim=-1).values, x.min(-1, keepdim=True)[0].squeeze(-1)], 1)


class Clamped(nn.Module):
    def forward(self, x):
        return x.clamp(-0.3, 0.4) + x.clamp(min=0.1) * x.clamp_max(0.2)


class Arithmetic(nn.Module):
    """What a forward may write between its layers."""

    def forward(self, x):
        share = x.abs().sqrt() / (1 + x.square().sum(-1, keepdim=True))
        other = torch.where(x > 0.1, share, torch.maximum(x, -2 * x).pow(3))
        other = other.masked_fill((x < -1) & ~(x < -2), 0.5) * torch.sin(x) - torch.cos(x)
        return torch.cat([other.amax(1, keepdim=True), torch.flip(other, [1])], 1)


class Written(nn.Module):
    """Rows put one by one into a tensor made before, and a part set to zero."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(4, 5)

    def forward(self, x):
        state = x.new_zeros(len(x), 5)
        rows = torch.zeros(len(x), 3, 5)
        for place in range(3):
            state = self.cell(x[:, :, place], state)
            rows[:, place] = state
        rows[:, 1:, 2] = 0.0
        rows[:, 0, 1:3] *= 2
        return rows


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(Clamped(), VECTOR), (Arithmetic(), VECTOR), (GlobalMaximum(), SERIES), (Written(), SERIES)],
    ids=lambda given: type(given).__name__ if isinstance(given, nn.Module) else "",
)
def test_what_a_forward_may_write(layer, shape):
    compile_around(layer, shape)


class WithTokens(nn.Module):
    """Numbers of words, places and a part that pads; then some layer over the rows."""

    def __init__(self, *layers, padding=None):
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH, padding_idx=padding)
        self.places = nn.Parameter(torch.randn(1, LENGTH, WIDTH))
        self.more_places = nn.Embedding(LENGTH, WIDTH)
        self.layers = nn.ModuleList(layers)
        self.last = nn.Linear(WIDTH, 3)

    def forward(self, ids):
        x = self.words(ids) + self.places + self.more_places(torch.arange(ids.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return self.last(x.mean(1))


class Masked(nn.Module):
    """Attention that does not look at what pads, nor ahead."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH, padding_idx=0)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.last = nn.Linear(WIDTH, 3)
        ahead = nn.Transformer.generate_square_subsequent_mask(LENGTH)
        self.register_buffer("ahead", ahead, persistent=False)

    def forward(self, ids):
        x = self.words(ids)
        # The first is always looked at: a row that hides everything is NaN in float64, too.
        pads = (ids == 0) & (torch.arange(LENGTH) > 0)
        hidden = torch.zeros_like(ids, dtype=x.dtype).masked_fill(pads, float("-inf"))
        x, weights = self.attention(x, x, x, key_padding_mask=hidden, attn_mask=self.ahead)
        return self.last(x[:, -1]) + weights[:, -1, :3]


class Own(nn.Module):
    """Attention as it is written by hand, with a mask made on the spot."""

    def __init__(self, *, causal):
        super().__init__()
        self.pack = nn.Linear(WIDTH, 3 * WIDTH)
        self.causal = causal

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.pack(x).view(batch, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        if self.causal:
            out = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            ahead = torch.triu(torch.ones(length, length), diagonal=1).bool()
            scores = (q @ k.transpose(-2, -1)) * (width // 2) ** -0.5
            out = scores.masked_fill(ahead, float("-inf")).softmax(-1) @ v
        return out.transpose(1, 2).reshape(batch, length, width)


class Recurrent(nn.Module):
    """A recurrent layer's rows, or its last state from a first one that is written out."""

    def __init__(self, layer, *, state=False):
        super().__init__()
        self.layer, self.state = layer, state

    def forward(self, x):
        if not self.state:
            return self.layer(x)[0][..., :WIDTH]
        ways = 2 if self.layer.bidirectional else 1
        zeros = torch.zeros(self.layer.num_layers * ways, x.size(0), WIDTH)
        _, state = self.layer(x, (zeros, zeros) if isinstance(self.layer, nn.LSTM) else zeros)
        return (state[0] if isinstance(state, tuple) else state)[-1:].transpose(0, 1)


WORDS, LENGTH, WIDTH = 11, 6, 8


def encoder_layer(**options):
    return nn.TransformerEncoderLayer(
        WIDTH, 2, dim_feedforward=12, dropout=0.0, batch_first=True, **options
    )


TOKENS = {
    "embedding": WithTokens(),
    "embedding that pads": WithTokens(padding=0),
    "attention": WithTokens(Own(causal=False)),
    "causal attention": WithTokens(Own(causal=True)),
    "masked attention": Masked(),
    "encoder layer": WithTokens(encoder_layer()),
    "encoder": WithTokens(
        nn.TransformerEncoder(
            encoder_layer(norm_first=True, activation="gelu"),
            2,
            norm=nn.LayerNorm(WIDTH),
            enable_nested_tensor=False,
        )
    ),
    "lstm": WithTokens(Recurrent(nn.LSTM(WIDTH, WIDTH, batch_first=True))),
    "lstm of two layers": WithTokens(
        Recurrent(nn.LSTM(WIDTH, WIDTH, num_layers=2, batch_first=True), state=True)
    ),
    "lstm both ways": WithTokens(
        Recurrent(nn.LSTM(WIDTH, WIDTH, batch_first=True, bidirectional=True), state=True)
    ),
    "gru": WithTokens(Recurrent(nn.GRU(WIDTH, WIDTH, batch_first=True), state=True)),
    "gru of two layers both ways": WithTokens(
        Recurrent(nn.GRU(WIDTH, 5, num_layers=2, batch_first=True, bidirectional=True))
    ),
    "rnn": WithTokens(Recurrent(nn.RNN(WIDTH, WIDTH, nonlinearity="relu", batch_first=True))),
}


@pytest.mark.parametrize("name", TOKENS)
def test_layers_over_tokens(name):
    compile_module(
        TOKENS[name], name="net", input_shape=(LENGTH,), labels=list("abc"), batch=4, out=None,
        input_dtype="int64", vocabulary=WORDS,
    )  # fmt: skip
