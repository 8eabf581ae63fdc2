"""`fedtier compile`: a class by its name, and each mistake in it one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cloud.compiler.by_name import compile_by_name
from fedtier import cli
from fedtier.artefact.artefact import Artefact
from fedtier.errors import ConfigError

NET = """
from torch import nn

ARTEFACT = {
    "name": "little", "input_shape": [2, 8], "labels": ["off", "on"], "batch": 4,
    "preprocessing": [{"name": "window", "length": 8, "stride": 8}],
}

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(16, 2))
"""
MORE = """
class Sized(Net):
    def __init__(self, size, *, depth, width=3):
        super().__init__()

class Unmade(Net):
    def __init__(self):
        super().__init__()
        self.depth = 3 / 0

class Unrun(Net):
    def forward(self, x):
        return x.no_such_name

class Pair(Net):
    def forward(self, x):
        return x, x

class Plain:
    pass
"""


@pytest.fixture
def compiles(tmp_path, monkeypatch):
    """Compile a class of the file `net.py` here, from its text."""
    monkeypatch.chdir(tmp_path)

    def compile_(text: str, target: str = "net.py:Net", **overrides: Any):
        Path("net.py").write_text(text, encoding="utf-8")
        return compile_by_name(target, out=tmp_path / "out", overrides=overrides)

    return compile_


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    return int(caught.value.code or 0)


def test_the_command_warns_of_a_softmax_before_cross_entropy(compiles, capsys, tmp_path):
    text = NET.replace("nn.Linear(16, 2))", "nn.Linear(16, 2), nn.Softmax(1))")
    Path("net.py").write_text(text, encoding="utf-8")
    assert run("compile", "net.py:Net", "--out", str(tmp_path / "out")) == 0
    said = capsys.readouterr()
    first = "compiling net.py:Net and comparing its gradient with torch's in float64 ...\n"
    assert said.out.startswith(first)
    (warning,) = said.err.splitlines()
    assert warning.startswith("warning: net.py:Net: the module's output is that of softmax")
    assert "Return what goes into softmax instead" in warning


def test_the_command_says_what_it_made(compiles, capsys):
    digest = compiles(NET).artefact.digest
    assert run("compile", "net.py:Net", "--out", "made") == 0
    lines = {" ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
    train = Path("made/train.onnx").stat().st_size
    assert {
        "made: little",
        "input 2 x 8, batches of 4",
        "classes 2: off, on",
        "parameters 34 in 2 tensors, 136 bytes as float32",
        f"train.onnx {train:,} bytes",
        f"digest {digest}",
    } <= lines
    assert any(line.startswith("gradient off by ") for line in lines)
    assert Artefact.load(Path("made")).digest == digest


def test_options_replace_what_stands_beside_the_class(compiles, capsys):
    compiles(NET)
    Path("steps.json").write_text('[{"name": "window", "length": 8, "stride": 2}]')
    options = ("--batch", "2", "--labels", "no, yes", "--preprocessing", "steps.json")
    assert run("compile", "net.py:Net", "--out", "made", *options) == 0
    manifest = json.loads(Path("made/manifest.json").read_bytes())
    assert (manifest["batch"], manifest["labels"]) == (2, ["no", "yes"])
    assert manifest["preprocessing"][0]["stride"] == 2


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--input-shape", "2x8", "'2x8' is no list of whole numbers"),
        ("--preprocessing", "none.json", "cannot be read as JSON"),
        ("--augmentation", "net.py", "cannot be read as JSON"),
    ],
)
def test_an_option_that_cannot_be_read_is_usage(compiles, capsys, option, value, message):
    compiles(NET)
    assert run("compile", "net.py:Net", "--out", "made", option, value) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_module_is_found_from_the_working_directory_and_by_its_path(compiles, tmp_path):
    by_path = compiles(NET, str(tmp_path / "net.py:Net")).artefact
    package = tmp_path / "by_name_package"
    package.mkdir()
    (package / "inner.py").write_text(NET)
    by_name = compiles(NET, "by_name_package.inner:Net").artefact
    assert by_name.digest == by_path.digest


def test_a_file_may_import_its_neighbours_whatever_it_is_called(compiles, tmp_path):
    (tmp_path / "compiled_neighbour.py").write_text("LABELS = ['off', 'on']\n")
    text = "from compiled_neighbour import LABELS\n" + NET.replace('["off", "on"]', "LABELS")
    (tmp_path / "json.py").write_text(text)
    assert compiles(NET, "json.py:Net").artefact.manifest.labels == ("off", "on")
    assert json.loads("1") == 1


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("net.py", r"^net\.py: names no class\. Write it after a colon, as in net\.py:Net"),
        ("nets.py:Net", r"there is no file .*nets\.py"),
        ("no_such_module:Net", "cannot import 'no_such_module': there is no such module in"),
        ("no_such_package.net:Net", "cannot import 'no_such_package.net'"),
        ("net.py:Nett", r"no torch module class 'Nett'\. Did you mean 'Net'\? Its classes: Net, "),
        ("net.py:Plain", "Plain is no class of torch modules. Derive it from torch.nn.Module"),
        ("net.py:ARTEFACT", "ARTEFACT is no class"),
        ("net.py:Sized", "needs the arguments size, depth, .* Give each a default in __init__"),
        ("net.py:Unmade", r"cannot be made: .*net\.py line 20: division by zero"),
        ("net.py:Unrun", r"shape \(4, 2, 8\): .*net\.py line 24: .*no_such_name"),
        ("net.py:Pair", r"output is a tuple\. Let forward return one tensor of shape \(4, 2\)"),
    ],
)
def test_a_target_that_cannot_be_compiled_is_one_sentence(compiles, target, message):
    with pytest.raises(ConfigError, match=message):
        compiles(NET + MORE, target)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("super().", "super(.", r"net\.py line 11: .*\(SyntaxError\)"),
        ("from torch import nn", "import no_such_package", "No module named 'no_such_package'"),
        ("nn.Sequential)", "nn.Sequental)", r"net\.py line 9: .*has no attribute 'Sequental'"),
        ("ARTEFACT = {", "ARTEFACT = 3\nOTHER = {", "ARTEFACT is int. Make it a dict"),
        ("ARTEFACT", "DESCRIPTION", "name, input_shape, labels, batch must be given, as options"),
        ('"batch"', '"bach"', "batch must be given"),
        ('"batch": 4', '"batch": 4, "smothing": 0', "'smothing' is unknown. Did you mean 'smoo"),
        ('"batch": 4', '"batch": "4"', "batch is '4', a text in quotes; it must be a whole"),
        ('["off", "on"]', '"off,on"', "labels is 'off,on'; it must be a list of texts"),
        ('["off", "on"]', '["off", "off"]', "use different texts"),
        ('["off", "on"]', '["off", "on", "idle"]', "output has shape .* Give as many labels"),
        ("[2, 8]", "[2, 9]", r"window of preprocessing has 8 rows, .* input_shape is \(2, 9\)"),
        ("Linear(16", "Linear(12", "does not take inputs of shape"),
        ('"window"', '"windows"', r"preprocessing\[0\]: name 'windows' is unknown"),
        ('[{"name"', '{"names"', "preprocessing is .*it must be a list of transforms"),
    ],
)
def test_a_file_that_cannot_be_compiled_is_one_sentence(compiles, tmp_path, old, new, message):
    text = NET.replace(old, new)
    if new.startswith("{"):
        text = text.replace("}],", "},")
    with pytest.raises(ConfigError, match=message) as caught:
        compiles(text)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
