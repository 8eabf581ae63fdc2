"""What docs/inference.md shows is run as it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from inference_world import listening, servable

from edge_agent.inference.open_model import OpenModel
from edge_agent.inference.server import Server
from fedtier.artefact.find import find_artefact
from fedtier.limits import (
    MIB,
    PREDICT_BYTES_MAX,
    PREDICT_CONNECTIONS_MAX,
    PREDICT_EXAMPLES_MAX,
    PREDICT_WAITING_MAX,
)

PAGE = (Path(__file__).parents[2] / "docs" / "inference.md").read_text(encoding="utf-8")
ENDPOINT = "/var/lib/fedtier/state/watch-1-0/inference.sock"


def block(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[0]


def test_the_limits_are_those_of_the_code():
    assert f"A line has at most {PREDICT_BYTES_MAX // MIB} MiB" in PAGE
    assert f"at most {PREDICT_EXAMPLES_MAX} examples" in PAGE
    assert f"{PREDICT_CONNECTIONS_MAX} connections are served" in PAGE
    assert f"Up to {PREDICT_WAITING_MAX} further ones" in PAGE


def ask_as_the_page_does(endpoint, change=("", "")):
    code = block("python").replace(ENDPOINT, endpoint).replace(*change)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.fixture
def endpoint(short_path):
    """The demo's model, with standardise fitted to readings that are mean 0 and deviation 1."""
    shipped = find_artefact("package:imu")
    fitted = [
        {**step, "mean": [0.0] * 6, "std": [1.0] * 6} if step["name"] == "standardise" else step
        for step in shipped.manifest.preprocessing
    ]
    with listening(short_path / "s") as listener:
        model = OpenModel(servable(shipped, round=12, fitted=tuple(fitted)))
        server = Server(listener, model)
        yield str(short_path / "s")
        server.end()


def test_the_client_in_python(endpoint):
    done = ask_as_the_page_does(endpoint)
    assert done.stderr == ""
    round_, name = done.stdout.split(maxsplit=1)
    assert round_ == "12"
    assert name.strip() in find_artefact("package:imu").manifest.labels
    assert len(block("python").splitlines()) <= 13


def test_the_client_in_python_says_what_is_wrong_with_its_example(endpoint):
    done = ask_as_the_page_does(endpoint, ("* 6] * 128", "* 5] * 128"))
    assert done.returncode == 1
    assert done.stderr == "example 0 has 128 x 5; 128 rows x 6 channels are needed\n"


def test_the_client_in_python_says_that_no_model_is_there_yet(short_path):
    with listening(short_path / "s") as listener:
        server = Server(listener, None)
        done = ask_as_the_page_does(str(short_path / "s"))
        server.end()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "no model has been accepted yet: ask again after a round\n"


def test_the_line_for_a_shell(endpoint):
    if shutil.which("socat") is None:
        pytest.skip("this test needs socat: apt-get install -y socat")
    line = block("sh").splitlines()[0].replace(ENDPOINT, endpoint)
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60, check=True)
    assert '"round":12' in done.stdout
    assert '"predictions":[]' in done.stdout
