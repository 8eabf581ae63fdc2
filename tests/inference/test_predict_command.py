"""``fedtier agent predict``: any of its formats, with the agent and without it."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from inference_world import bare_imu, examples, listening, servable

from edge_agent.inference.inference import inference_directory
from edge_agent.inference.open_model import OpenModel
from edge_agent.inference.predict import print_predictions
from edge_agent.inference.read_requests import read_requests
from edge_agent.inference.requests import parse_request
from edge_agent.inference.server import Server
from edge_agent.inference.store import Served, write_served
from fedtier.artefact.evaluate import Score
from fedtier.artefact.find import find_artefact
from fedtier.errors import ConfigError
from fedtier.limits import PREDICT_BYTES_MAX

NODE_FILE = """\
[node]
id = "d"
role = "agent"
federation = "farm"
tier = 0
state_dir = "state"
[parent]
id = "home"
url = "mqtt://127.0.0.1:1"
[data]
source = "npz-directory"
path = "data"
[inference]
endpoint = "{endpoint}"
"""
COUNT = 40  # more than one request's


@pytest.fixture(scope="module")
def kept():
    return servable(bare_imu(), round=7)


@pytest.fixture
def config(short_path, tmp_path):
    path = tmp_path / "d.toml"
    path.write_text(NODE_FILE.format(endpoint=short_path / "s"), encoding="utf-8")
    return path


@pytest.fixture
def stored(tmp_path, kept):
    score = Score(examples=1, correct=1, loss_units=1, judged=1)
    directory = inference_directory(tmp_path / "state")
    write_served(directory, Served(servable=kept, score=score, data=""))


def npy(x):
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


def npz(x):
    file = io.BytesIO()
    np.savez(file, x=x, y=np.zeros(len(x)))
    return file.getvalue()


def csv(x):
    return b"".join(
        ",".join(map(repr, row)).encode() + b"\n" for row in x.reshape(len(x), -1).tolist()
    )


def json_lines(x):
    return b"".join(json.dumps(row).encode() + b"\n" for row in x.tolist())


def json_requests(x):
    return b"".join(json.dumps({"examples": [row]}).encode() + b"\n" for row in x.tolist())


def predicted(capsys, config, source, **options):
    print_predictions(
        config, str(source), **{"prepared": False, "traits": (), "as_json": True} | options
    )
    return capsys.readouterr()


@pytest.mark.parametrize("write", [npy, npz, csv, json_lines, json_requests])
def test_every_format_and_whoever_answers_gives_the_same(
    config, short_path, tmp_path, stored, kept, capsys, write
):
    x = examples(COUNT)
    (tmp_path / "in").write_bytes(write(x))
    without = predicted(capsys, config, tmp_path / "in")
    assert "no agent serves here" in without.err
    with listening(short_path / "s") as listener:
        server = Server(listener, OpenModel(kept))
        asked = predicted(capsys, config, tmp_path / "in")
        server.end()
    assert asked.err == ""
    assert asked.out == without.out
    lines = [json.loads(line) for line in asked.out.splitlines()]
    found = np.array([line["outputs"] for line in lines], np.float32)
    assert np.array_equal(found, OpenModel(kept).outputs(x))
    assert all(line["model"] == kept.version for line in lines)


def test_for_people_a_line_names_class_chance_and_model(config, stored, kept, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.concatenate([examples(1), examples(1)]))
    said = predicted(capsys, config, tmp_path / "x.npy", as_json=False).out.splitlines()
    request = parse_request(json.dumps({"examples": examples(1).tolist()}).encode())
    (expected,) = OpenModel(kept).answer(request)["predictions"]
    assert said[0] == (
        f"0  {expected['name']}  {100 * max(expected['probabilities']):.1f} %  "
        f"(round 7, {kept.model[:12]}, float32)"
    )
    assert said[1].startswith("1  ")


def test_before_a_model_was_accepted_it_says_what_is_missing(config, tmp_path, capsys):
    np.save(tmp_path / "x.npy", examples(1))
    with pytest.raises(
        ConfigError, match=r"d\.toml: nobody serves at .*has not accepted a model yet"
    ):
        predicted(capsys, config, tmp_path / "x.npy")


def test_an_example_that_is_refused_is_told_with_its_number(config, stored, tmp_path, capsys):
    np.save(tmp_path / "x.npy", examples(2, shape=(5, 128)))
    with pytest.raises(ConfigError, match=r"x\.npy: example 0 .*model takes \(6, 128\)"):
        predicted(capsys, config, tmp_path / "x.npy")


@pytest.fixture
def stored_imu(tmp_path):
    """The demo's model, whose preprocessing asks for the trait ``side``."""
    shipped = find_artefact("package:imu")
    fitted = [
        {**step, "mean": [0.0] * 6, "std": [1.0] * 6} if step["name"] == "standardise" else step
        for step in shipped.manifest.preprocessing
    ]
    score = Score(examples=1, correct=1, loss_units=1, judged=1)
    kept = servable(shipped, fitted=tuple(fitted))
    write_served(
        inference_directory(tmp_path / "state"), Served(servable=kept, score=score, data="")
    )
    return kept


def test_a_window_without_the_axis_that_counts_is_told_so(config, stored_imu, tmp_path, capsys):
    """A recording's window by itself is the array that a newcomer saves."""
    np.save(tmp_path / "x.npy", np.zeros((128, 6)))
    with pytest.raises(
        ConfigError,
        match=r"example 0 has 6 numbers; 128 rows x 6 channels = 768 are needed\. The first axis "
        r"of the array, whose shape is \(128, 6\), counts examples: .* give shape \(1, 128, 6\)\.",
    ):
        predicted(capsys, config, tmp_path / "x.npy", traits=["side=0"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, r"asks for the trait 'side' .*Give it: --trait side=0"),
        ({"traits": ["side=0", "hand=1"]}, "--trait hand: .* no such trait; it asks for side"),
        ({"traits": ["side=0"], "prepared": True}, "--trait side: .* Leave out one of the two"),
    ],
    ids=["none", "one too many", "prepared"],
)
def test_traits_are_asked_for_and_never_ignored(
    config, stored_imu, tmp_path, capsys, options, said
):
    np.save(tmp_path / "x.npy", np.zeros((1, 128, 6)))
    with pytest.raises(ConfigError, match=said):
        predicted(capsys, config, tmp_path / "x.npy", **options)
    assert predicted(capsys, config, tmp_path / "x.npy", traits=["side=1"]).out


@pytest.mark.parametrize("options", [{"traits": {"side": 0}}, {"prepared": True}])
def test_options_that_whole_requests_would_ignore_are_refused(tmp_path, options):
    (tmp_path / "in").write_bytes(b'{"examples": []}\n')
    with pytest.raises(ConfigError, match="its lines are requests"):
        read_requests(str(tmp_path / "in"), **{"prepared": False, "traits": {}} | options)


@pytest.mark.parametrize("content", [b"", b"\n", b'{"examples": []}\n'])
def test_without_an_example_it_says_which_model_is_served(
    config, stored_imu, tmp_path, capsys, content
):
    (tmp_path / "in").write_bytes(content)
    said = predicted(capsys, config, tmp_path / "in", as_json=False).out
    assert said == f"no example  (round 0, {stored_imu.model[:12]}, float32)\n"
    as_json = json.loads(predicted(capsys, config, tmp_path / "in").out)
    assert as_json == {"model": stored_imu.version}


def test_lines_for_people_are_aligned(config, stored, tmp_path, capsys):
    np.save(tmp_path / "x.npy", 3 * examples(COUNT))
    lines = predicted(capsys, config, tmp_path / "x.npy", as_json=False).out.splitlines()
    assert [line.split()[0] for line in lines] == [str(number) for number in range(COUNT)]
    assert len({line.index(" %  (round 7") for line in lines}) == 1


def test_what_was_predicted_before_one_was_refused_is_shown(config, stored, tmp_path, capsys):
    good, bad = examples(1).tolist(), [[1.0]]
    requests = [json.dumps({"examples": e}) for e in (good, bad)]
    (tmp_path / "in").write_text("\n".join(requests), encoding="utf-8")
    with pytest.raises(ConfigError, match="in: example 1 "):
        predicted(capsys, config, tmp_path / "in", as_json=False)
    assert capsys.readouterr().out.startswith("0  ")


def test_a_refused_example_has_its_number_in_the_file(config, stored, tmp_path, capsys):
    """Requests have fewer examples than the file, and count them from 0 each."""
    bad = [[1.0]]
    lines = [*examples(COUNT - 1).tolist(), bad]
    (tmp_path / "in").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    with pytest.raises(ConfigError, match=f"in: example {COUNT - 1} comes to"):
        predicted(capsys, config, tmp_path / "in")


def test_errors_name_standard_input(config, stored, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"1,x")))
    with pytest.raises(ConfigError, match=r"^standard input, line 1: 'x' is no number"):
        predicted(capsys, config, "-")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe", "neither text nor an array"),
        (b"1,2\n3,x\n", r"in, line 2: 'x' is no number\. CSV has no header, and each line is one"),
        (b"[1, 2\n", "in, line 1: not JSON"),
        (b"\x93NUMPY torn", "no array to predict"),
        (b"PK\x03\x04 torn", "no array to predict"),
        (npy(np.zeros(3)), "the first axis counts them"),
        (npy(np.array([["a", "b"]])), "examples are numbers"),
        (npy(np.array([[{}]], object)), "no array to predict"),
    ],
    ids=lambda value: str(value)[:24],
)  # fmt: skip
def test_a_file_that_cannot_be_is_refused(tmp_path, content, said):
    (tmp_path / "in").write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read_requests(str(tmp_path / "in"), prepared=False, traits={})


def test_a_missing_file_and_a_bad_trait_are_named(config, stored, tmp_path, capsys):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        predicted(capsys, config, tmp_path / "none")
    np.save(tmp_path / "x.npy", examples(1))
    with pytest.raises(ConfigError, match="--trait side is not NAME=NUMBER"):
        predicted(capsys, config, tmp_path / "x.npy", traits=["side"])


def test_no_request_is_longer_than_what_is_taken(tmp_path):
    x = np.full((3, 200_000), 0.123456789012345)
    np.save(tmp_path / "x.npy", x)
    given = read_requests(str(tmp_path / "x.npy"), prepared=True, traits={"side": 1})
    lines = list(given.requests)
    assert len(lines) == 3
    assert all(len(line) <= PREDICT_BYTES_MAX for line in lines)
    assert all(json.loads(line)["traits"] == {"side": 1} for line in lines)
