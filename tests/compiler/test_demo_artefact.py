"""The demo's artefact in the repository is what the documented command makes."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import fedtier.demo
from cloud.compiler.compile import layout_of
from cloud.compiler.gate import check_gradient
from fedtier.artefact.artefact import Artefact
from fedtier.demo.net import ARTEFACT, ImuNet

SHIPPED = Path(fedtier.demo.__file__).parent / "artefact"


def under_the_pinned_versions(artefact):
    installed = {name: importlib.metadata.version(name) for name in artefact.manifest.producer}
    return (
        platform.machine() == "x86_64"
        and sys.version_info[:2] == (3, 11)
        and all(
            installed[name].split("+")[0] == version
            for name, version in artefact.manifest.producer.items()
        )
    )


def test_the_shipped_artefact_has_the_demos_layout_and_a_right_gradient():
    artefact = Artefact.load(SHIPPED)
    assert artefact.layout == layout_of(ImuNet())
    assert artefact.manifest.dimension == 24_807
    assert artefact.manifest.batch == 32
    assert artefact.manifest.input_shape == (6, 128)
    assert artefact.manifest.lowering == "gemm"
    assert [dict(step) for step in artefact.manifest.augmentation] == ARTEFACT["augmentation"]
    check_gradient(ImuNet(), artefact)


def test_the_shipped_artefact_comes_out_of_the_compiler_byte_for_byte(tmp_path):
    shipped = Artefact.load(SHIPPED)
    if not under_the_pinned_versions(shipped):
        pytest.skip("bytes are compared under the pinned versions on x86_64 and Python 3.11")
    # In a process of its own, by the command in fedtier/demo/net.py, from another directory.
    root = str(SHIPPED.parents[2])
    target = "fedtier.demo.net:ImuNet"
    subprocess.run(
        [sys.executable, "-m", "fedtier", "compile", target, "--out", tmp_path],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.DEVNULL,
        timeout=120,
    )
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {path.name: path.read_bytes() for path in SHIPPED.iterdir()}
