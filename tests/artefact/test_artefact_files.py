"""An artefact is a directory whose every file verifies, or it is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fedtier.demo
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.manifest import ArtefactManifest
from fedtier.artefact.session import make_session
from fedtier.errors import ConfigError

SHIPPED = Path(fedtier.demo.__file__).parent / "artefact"
FILES = ["evaluate.onnx", "infer.onnx", "initial.f32", "train.onnx"]


@pytest.fixture
def copied(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "artefact")
    return tmp_path / "artefact"


def test_loading_gives_what_the_files_say():
    artefact = Artefact.load(SHIPPED)
    data = json.loads((SHIPPED / "manifest.json").read_bytes())
    assert artefact.digest == data["digest"]
    assert artefact.layout.digest == data["layout_digest"]
    assert artefact.layout.dimension == data["dimension"] == 24_807
    assert sorted(artefact.files) == FILES
    initial = artefact.initial()
    assert initial.dtype == np.float32
    assert initial.tobytes() == (SHIPPED / "initial.f32").read_bytes()
    initial[:] = 0  # a copy: the next caller gets the parameters themselves
    assert artefact.initial().any()


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_refused_by_the_files_name(copied, name):
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{name} has SHA-256 .* copy the artefact anew"):
        Artefact.load(copied)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_file_is_refused_by_its_name(copied, name):
    (copied / name).unlink()
    with pytest.raises(ConfigError, match=rf"{name}: cannot be read"):
        Artefact.load(copied)


def changed(copied, change):
    data = json.loads((copied / "manifest.json").read_bytes())
    change(data)
    (copied / "manifest.json").write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(batch=16), "was changed after it was compiled"),
        (lambda data: data["augmentation"].pop(), "was changed after it was compiled"),
        (lambda data: data.update(format=1), "artefact format 1 is not 2"),
        (lambda data: data.pop("layout"), "KeyError: 'layout'"),
        (lambda data: data["layout"][0].update(shape="x"), "layout"),
        (lambda data: data["loss"].update(kind="hinge"), "loss 'hinge' is unknown"),
        (lambda data: data["files"].pop("train.onnx"), "files are"),
        (lambda data: data.update(parameters=24_808), "parameters = 24808 is outside"),
    ],
)
def test_a_changed_manifest_is_refused(copied, change, message):
    changed(copied, change)
    with pytest.raises(ConfigError, match=message):
        Artefact.load(copied)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'"format"'])
def test_what_is_no_manifest_is_refused(copied, text):
    (copied / "manifest.json").write_bytes(text)
    with pytest.raises(ConfigError, match=r"manifest\.json"):
        Artefact.load(copied)


def test_initial_parameters_of_another_length_are_refused():
    artefact = Artefact.load(SHIPPED)
    short = artefact.files["initial.f32"][:-4]
    files = {**artefact.files, "initial.f32": short}
    data = json.loads(artefact.manifest.to_bytes())
    data["files"]["initial.f32"] = hashlib.sha256(short).hexdigest()
    del data["digest"]
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    data["digest"] = hashlib.sha256(canonical.encode()).hexdigest()
    manifest = ArtefactManifest.parse(json.dumps(data).encode(), where="test")
    with pytest.raises(ConfigError, match=r"initial\.f32 has 99224 bytes.*99228"):
        Artefact.verify(manifest, files, where="test")


def test_writing_and_loading_again_changes_no_byte(tmp_path):
    Artefact.load(SHIPPED).write(tmp_path / "again")
    for path in SHIPPED.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_the_inference_graph_predicts_from_a_directory_as_the_evaluation_graph_does(tmp_path):
    artefact = Artefact.load(SHIPPED)
    rng = np.random.default_rng(0)
    w = artefact.initial() + np.float32(0.01) * rng.standard_normal(24_807).astype(np.float32)
    for name, content in artefact.inference_files(w, graph_name="model.onnx").items():
        (tmp_path / name).write_bytes(content)
    x = rng.standard_normal((artefact.manifest.evaluate_batch, 6, 128)).astype(np.float32)
    (expected,) = artefact.evaluate_session().run(["logits"], {"w": w, "x": x})
    session = make_session(tmp_path / "model.onnx")
    found = [session.run(["logits"], {"x": x[row : row + 1]})[0] for row in range(5)]
    # The same sums in blocks of another height; float32, logits of size about 1.
    np.testing.assert_allclose(np.concatenate(found), expected[:5], rtol=0, atol=1e-6)


def test_a_graph_that_onnxruntime_refuses_is_named(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ConfigError, match=r"cannot open .*model\.onnx"):
        make_session(tmp_path / "model.onnx")
    with pytest.raises(ConfigError, match="cannot open a compiled graph"):
        make_session(b"no graph")


def test_a_device_loads_neither_torch_nor_onnx():
    program = (
        "import sys\n"
        "import edge_agent.trainer_onnx, fedtier.artefact.artefact, fedtier.artefact.evaluate\n"
        "print(sorted({'torch', 'onnx', 'onnxscript'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert found.stdout.strip() == "[]"
