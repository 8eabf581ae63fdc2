"""What an application sends: whatever it is, the answer is one line and the connection lives."""

from __future__ import annotations

import dataclasses
import json
import socket

import numpy as np
import pytest
from application import Application
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inference_world import bare_imu, listening, servable

from edge_agent.inference.open_model import OpenModel
from edge_agent.inference.requests import parse_request
from edge_agent.inference.server import Server
from fedtier.errors import WireError
from fedtier.limits import (
    PREDICT_BYTES_MAX,
    PREDICT_CONNECTIONS_MAX,
    PREDICT_EXAMPLES_MAX,
)

GOOD = {"examples": [np.zeros((6, 128)).tolist()]}

numbers = st.integers() | st.floats() | st.booleans()
json_values = st.recursive(
    st.none() | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
requests = st.dictionaries(
    st.sampled_from(["examples", "inputs", "traits", "x"]), json_values, max_size=3
)
lines = st.binary(max_size=200) | st.builds(lambda value: json.dumps(value).encode(), requests)


@pytest.fixture(scope="module")
def model():
    return OpenModel(servable(bare_imu()))


@pytest.fixture
def server(short_path, model):
    with listening(short_path / "s") as listener:
        server = Server(listener, model)
        yield server, short_path / "s"
        server.end()


@given(lines)
def test_no_bytes_do_more_than_be_refused(model, line):
    try:
        answer = model.answer(parse_request(line))
    except WireError:
        return
    assert answer["model"]["digest"] == model.servable.model
    for prediction in answer["predictions"]:
        assert sum(prediction["probabilities"]) == pytest.approx(1, abs=1e-4)  # six digits each


# One connection for all examples: that it lives on is what is tested.
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=60).map(lambda b: b.replace(b"\n", b" ")), max_size=6))
def test_a_connection_survives_garbage(server, garbage):
    _, endpoint = server
    with Application(endpoint) as application:
        for line in garbage:
            assert "error" in application.ask_line(line)
        assert application.ask(**GOOD)["predictions"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({}, 'not one of "examples" and "inputs"'),
        ({"examples": [], "inputs": []}, 'not one of "examples" and "inputs"'),
        ({"rows": []}, "known are examples, inputs, traits"),
        ({"examples": 5}, "not a list"),
        ({"examples": [5]}, "example 0 is not a list of numbers"),
        ({"examples": ["x"]}, "example 0 is not a list of numbers"),
        ({"examples": [[True, False]]}, "example 0 is not a list of numbers"),
        ({"examples": [[[1, 2], [3]]]}, "its rows are of several lengths"),
        ({"examples": [[10**400]]}, "example 0 is not a list of numbers"),
        ({"examples": [[1e300]]}, "no float32"),
        ({"examples": [np.zeros((3, 128)).tolist()]}, "shape (3, 128); the model takes (6, 128)"),
        ({"examples": [], "traits": {"side": 1.5}}, "'side' is 1.5, not an integer"),
        ({"examples": [], "traits": {str(n): n for n in range(40)}}, "40 traits; at most 32"),
        ({"examples": [0] * (PREDICT_EXAMPLES_MAX + 1)}, "at most 1024 items"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_mistake_is_named(model, request_, said):
    with pytest.raises(WireError) as refused:
        model.answer(parse_request(json.dumps(request_).encode()))
    assert said in str(refused.value)


def test_a_line_beyond_the_limit_is_refused_and_the_next_is_answered(server):
    _, endpoint = server
    with Application(endpoint) as application:
        long = application.ask_line(b"[" + b"1," * PREDICT_BYTES_MAX + b"1]")
        assert f"at most {PREDICT_BYTES_MAX} are allowed" in long["error"]
        assert application.ask(**GOOD)["predictions"]


def other_shape():
    """A model whose graph does not take what its manifest says."""
    artefact = bare_imu()
    return servable(artefact, manifest=dataclasses.replace(artefact.manifest, input_shape=(6, 64)))


def test_what_the_graph_does_not_take_is_an_error_and_the_connection_lives_on(server):
    server, endpoint = server
    whole, server.model = server.model, OpenModel(other_shape())
    with Application(endpoint) as application:
        said = application.ask(inputs=[np.zeros((6, 64)).tolist()])["error"]
        assert said.startswith("onnxruntime cannot run the model: ")
        server.model = whole
        assert application.ask(**GOOD)["predictions"]


def test_what_is_cut_off_in_mid_line_harms_nobody(server):
    _, endpoint = server
    with Application(endpoint) as cut:
        cut.link.sendall(b'{"examples": [[')
        cut.link.shutdown(socket.SHUT_WR)
        assert "error" in json.loads(cut._answers.readline())
    with Application(endpoint) as application:
        assert application.ask(**GOOD)["predictions"]


def test_before_any_model_was_accepted_that_is_the_answer(short_path):
    with listening(short_path / "s") as listener:
        server = Server(listener, None)
        with Application(short_path / "s") as application:
            assert "no model has been accepted yet" in application.ask(**GOOD)["error"]
        server.end()


def test_further_connections_wait_until_one_ends(server):
    _, endpoint = server
    held = [Application(endpoint) for _ in range(PREDICT_CONNECTIONS_MAX)]
    assert all(application.ask(**GOOD)["predictions"] for application in held)
    with Application(endpoint) as further:
        further.link.sendall(json.dumps(GOOD).encode() + b"\n")
        held.pop().close()
        assert json.loads(further._answers.readline())["predictions"]
    for application in held:
        application.close()
