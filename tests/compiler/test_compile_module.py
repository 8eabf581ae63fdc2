"""Compiling modules: the gradient is the right one, or nothing is written."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from compiled_models import model
from torch import nn

from cloud.compiler.compile import compile_module
from cloud.compiler.gate import ERROR_MAX, check_gradient
from fedtier.errors import ConfigError


def compiled(name, *, lowering="conv", out=None, batch=8, **options):
    module, shape, classes = model(name)
    artefact = compile_module(
        module,
        name=name,
        input_shape=shape,
        labels=[f"class {index}" for index in range(classes)],
        batch=batch,
        evaluate_batch=6,
        smoothing=0.1,
        lowering=lowering,
        out=out,
        **options,
    ).artefact
    return module, artefact


@pytest.mark.parametrize(
    ("name", "lowering"),
    [
        ("imu", "gemm"),
        ("imu", "conv"),
        ("strided", "gemm"),
        ("strided", "taps"),
        ("strided", "conv"),
        ("dilated", "gemm"),
        ("dilated", "conv"),
        ("mlp", "conv"),
        ("lenet-tanh-average", "conv"),
        ("lenet-relu-max", "taps"),
        ("silu", "conv"),
    ],
)
def test_the_compiled_gradient_is_that_of_float64_autograd(name, lowering):
    module, artefact = compiled(name, lowering=lowering)
    result = check_gradient(module, artefact)
    # float32 sums of a few thousand terms err by some 1e-7; the bound is the release gate's.
    assert result.gradient <= ERROR_MAX
    assert result.logits <= ERROR_MAX


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_loss_is_that_of_torch(smoothing):
    module, shape, classes = model("mlp")
    artefact = compile_module(
        module,
        name="mlp",
        input_shape=shape,
        labels=list("abcde"),
        batch=8,
        smoothing=smoothing,
        out=None,
    ).artefact
    rng = np.random.default_rng(1)
    x = rng.standard_normal((8, *shape)).astype(np.float32)
    y = rng.integers(0, classes, 8)
    feed = {"w": artefact.initial(), "x": x, "y": y, "mu": np.asarray(0.1, np.float32)}
    (loss,) = artefact.train_session().run(["loss"], feed)
    with torch.no_grad():
        expected = nn.functional.cross_entropy(
            module(torch.from_numpy(x)), torch.from_numpy(y), label_smoothing=smoothing
        )
    assert loss.shape == ()
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)  # a few float32 roundings


def test_the_evaluation_graph_gives_the_modules_logits():
    module, artefact = compiled("lenet-relu-max")
    x = np.random.default_rng(2).standard_normal((6, 1, 28, 28)).astype(np.float32)
    (logits,) = artefact.evaluate_session().run(["logits"], {"w": artefact.initial(), "x": x})
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    # Two float32 summation orders over at most 400 terms of size about 1.
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


def test_a_step_of_size_zero_leaves_every_bit_of_the_model():
    _, artefact = compiled("strided", lowering="gemm")
    rng = np.random.default_rng(4)
    x = rng.standard_normal((8, 3, 33)).astype(np.float32)
    feed = {"w": artefact.initial(), "x": x, "y": rng.integers(0, 3, 8)}
    (w,) = artefact.train_session().run(["w_next"], {**feed, "mu": np.zeros((), np.float32)})
    assert w.tobytes() == artefact.initial().tobytes()


def test_compiling_twice_gives_the_same_bytes(tmp_path):
    first = compiled("strided", lowering="gemm", out=tmp_path / "a")[1]
    second = compiled("strided", lowering="gemm", out=tmp_path / "b")[1]
    assert first.digest == second.digest
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_the_graphs_are_valid_and_hold_neither_comments_nor_paths():
    _, artefact = compiled("imu", lowering="gemm")
    for name, content in artefact.files.items():
        if not name.endswith(".onnx"):
            continue
        graph = onnx.load_model_from_string(content)
        if name != "infer.onnx":  # its parameters lie in a file that is not there yet
            onnx.checker.check_model(graph, full_check=True)
        assert not graph.doc_string
        assert not graph.metadata_props
        assert all(not node.doc_string and not node.metadata_props for node in graph.graph.node)
        assert all(node.op_type != "Identity" for node in graph.graph.node[:-2])
        del graph.graph.initializer[:]  # numbers, whose bytes are printed as characters
        assert "/" not in str(graph)  # neither a path nor an operator's domain


def test_the_module_is_left_as_it_was():
    module, _ = compiled("silu")
    assert module.training
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())
    assert torch.backends.mkldnn.enabled


class Sorting(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), Sorted())

    def forward(self, x):
        return self.inner(x)


class Sorted(nn.Module):
    def forward(self, x):
        return x.sort(dim=1).values


class Deciding(Sorting):
    def forward(self, x):
        x = self.inner[0](x)
        return x if x.mean() > 0 else -x


class Single(Sorting):
    def forward(self, x):
        return self.inner[0](x) @ torch.ones(4, 4, dtype=torch.float32)


class Counting(nn.Module):
    """Hands on from step to step what no artefact carries."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x):
        self.seen.add_(x.mean(0))
        return self.inner(x) + self.seen


def compile_small(module, *, shape=(4,), labels="abcd", **options):
    return compile_module(
        module, name="small", input_shape=shape, labels=list(labels), batch=3, out=None, **options
    ).artefact


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (Sorting(), (4,), r"module inner\.1 \(Sorted\).*aten\.sort"),
        (
            nn.Sequential(nn.ConvTranspose1d(4, 4, 1), nn.Flatten()),
            (4, 1),
            r"module 0 \(ConvTranspose1d\).*convolution.*transposed",
        ),
        (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, momentum=None)), (4,), "1.*momentum"),
        (
            nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False)),
            (4,),
            r"module 1 \(BatchNorm1d\) has track_running_stats=False.*share a batch",
        ),
        (Counting(), (4,), "writes into its buffer seen"),
        (Deciding(), (4,), r"module .*: .*must not read a number"),
        (Single(), (4,), "does not run in float64, .* name no type"),
        (nn.Linear(5, 4), (4,), r"does not take inputs of shape \(3, 4\)"),
        (nn.Linear(4, 3), (4,), r"shape \(3, 3\), the labels ask for \(3, 4\)"),
        (nn.Linear(4, 4).double(), (4,), r"float64|double"),
        (nn.Linear(4, 4).requires_grad_(False), (4,), "weight is frozen"),
    ],
)
def test_what_cannot_be_compiled_is_named_with_its_module(module, shape, message):
    with pytest.raises(ConfigError, match=message):
        compile_small(module, shape=shape)


def test_a_parameter_without_influence_is_named():
    module = nn.Linear(4, 4)
    module.register_parameter("spare", nn.Parameter(torch.zeros(2)))
    with pytest.raises(ConfigError, match="spare"):
        compile_small(module)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lowering": "magic"}, "lowering 'magic' is unknown. Use one of conv, taps, gemm"),
        ({"smoothing": 1.0}, r"smoothing = 1.0 is outside \[0, 1\)"),
        ({"evaluate_batch": 0}, "evaluate_batch = 0"),
        ({"input_dtype": "int8"}, "input_dtype 'int8' is unknown. Use one of float32, int64"),
        ({"vocabulary": 9}, "vocabulary = 9 goes with input_dtype = 'int64'"),
        ({"input_dtype": "int64"}, "vocabulary = None: with int64 inputs say how many"),
        (
            {"input_dtype": "int64", "vocabulary": 9, "augmentation": [{"name": "gain"}]},
            "augmentation changes float32 inputs",
        ),
    ],
)
def test_an_argument_out_of_range_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        compile_small(nn.Linear(4, 4), **options)


def test_a_vocabulary_larger_than_the_embedding_is_refused():
    module = nn.Sequential(nn.Embedding(9, 1), nn.Flatten())
    with pytest.raises(ConfigError, match="does not take inputs of 9, the vocabulary's last"):
        compile_small(module, input_dtype="int64", vocabulary=10)


def test_a_wrong_gradient_is_not_written(tmp_path, monkeypatch):
    from cloud.compiler import registry

    def without_mask(graph, slope, result, threshold):
        return slope

    monkeypatch.setitem(registry.LOWERINGS, "aten.threshold_backward.default", without_mask)
    with pytest.raises(ConfigError, match=r"against float64.*Nothing was written"):
        compiled("mlp", out=tmp_path / "never")
    assert not (tmp_path / "never").exists()
