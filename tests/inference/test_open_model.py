"""From an example as it was recorded to an answer that says what the model makes of it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from inference_world import bare_imu, examples, servable

from edge_agent.inference.int8 import quantized
from edge_agent.inference.open_model import OpenModel
from edge_agent.inference.requests import parse_request
from edge_agent.inference.verdict import Unjudged
from fedtier.artefact.evaluate import predict
from fedtier.artefact.find import find_artefact
from fedtier.artefact.loss import Loss
from fedtier.data.examples import Examples
from fedtier.data.load import load_device
from fedtier.errors import ConfigError, TrainingError, WireError


def ask(model, **request):
    return model.answer(parse_request(json.dumps(request).encode()))["predictions"]


def outputs(predictions):
    return np.array([p["outputs"] for p in predictions], np.float32)


@pytest.fixture(scope="module")
def artefact():
    return bare_imu()


def test_it_predicts_what_training_evaluates(artefact):
    """The same logits by two graphs; float32 sums in another order differ in their last bits."""
    x = examples(9)
    expected = predict(artefact.evaluate_session(), artefact.initial(), x)
    model = OpenModel(servable(artefact))
    assert np.allclose(model.outputs(x), expected, rtol=1e-5, atol=1e-6)
    given = outputs(ask(model, examples=x.tolist()))
    assert np.array_equal(given, model.outputs(x)), "nine digits give every float32 back"


def test_flat_examples_are_the_same_in_their_order(artefact):
    model, x = OpenModel(servable(artefact)), examples(2)
    nested = ask(model, examples=x.tolist())
    assert ask(model, examples=x.reshape(2, -1).tolist()) == nested
    assert ask(model, inputs=x.reshape(2, -1).tolist()) == nested


@pytest.mark.parametrize("shape", [(128, 6), (1, 6, 128), (2, 3, 128), (6, 128, 1)])
def test_inputs_that_are_nested_otherwise_are_refused(artefact, shape):
    """Taken in another order they would have an answer, and a wrong one."""
    with pytest.raises(WireError, match=r"the model takes \(6, 128\)"):
        ask(OpenModel(servable(artefact)), inputs=[np.zeros(shape).tolist()])


@pytest.mark.parametrize("field", ["examples", "inputs"])
def test_booleans_are_no_numbers(artefact, field):
    rows = examples(1)[0].tolist()
    rows[5][127] = True
    with pytest.raises(WireError, match="not a list of numbers"):
        ask(OpenModel(servable(artefact)), **{field: [rows]})


def test_a_class_is_named_and_probabilities_sum_to_one(artefact):
    model = OpenModel(servable(artefact))
    for prediction in ask(model, examples=examples(5).tolist()):
        label = prediction["label"]
        assert prediction["name"] == artefact.manifest.labels[label]
        assert label == np.argmax(prediction["outputs"]) == np.argmax(prediction["probabilities"])
        assert sum(prediction["probabilities"]) == pytest.approx(1, abs=1e-5)  # six digits each


def test_every_answer_names_the_model(artefact):
    served = servable(artefact, round=41)
    answer = OpenModel(served).answer(parse_request(b'{"examples": []}'))
    assert answer == {"model": served.version, "traits": [], "predictions": []}
    assert served.version == {
        "run": f"{1:016x}", "round": 41, "digest": served.model, "precision": "float32",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "keys"), [("bce", {"probabilities", "outputs"}), ("mse", {"outputs"})]
)
def test_of_other_losses_there_is_no_class(artefact, kind, keys):
    manifest = dataclasses.replace(artefact.manifest, loss=Loss(kind=kind), target_shape=(7,))
    model = OpenModel(servable(artefact, manifest=manifest))
    (prediction,) = ask(model, examples=examples(1).tolist())
    assert prediction.keys() == keys
    if kind == "bce":
        logits = np.array(prediction["outputs"])
        expected = 1 / (1 + np.exp(-logits))
        assert prediction["probabilities"] == pytest.approx(expected, rel=1e-5)


def test_recorded_rows_get_the_preprocessing_fitted_on_the_device(tmp_path):
    """A left wrist's rows, mirrored, standardised, cut: as the device's own hold-out was."""
    shipped = find_artefact("package:imu")
    rng = np.random.default_rng(3)
    recorded = rng.normal(2.0, 3.0, size=(3, 400, 6)).astype(np.float32)
    np.savez(
        tmp_path / "d.npz", x=recorded.reshape(-1, 6), y=np.repeat([0, 1, 2], 400),
        recording=np.repeat([0, 1, 2], 400),
    )  # fmt: skip
    spec = {"source": "npz-directory", "path": str(tmp_path), "traits": {"side": 1}}
    data = load_device(spec, shipped.manifest.preprocessing, node="d", where="test")
    length = shipped.manifest.input_shape[1]
    model = OpenModel(servable(shipped, fitted=data.fitted))
    window = recorded[0][:length]
    (found,) = ask(model, examples=[window.tolist()], traits={"side": 1})
    assert np.array_equal(outputs([found]), model.outputs(data.train.x[:1]))
    assert ask(model, examples=[window.reshape(-1).tolist()], traits={"side": 1}) == [found]
    assert ask(model, examples=[window.tolist()], traits={"side": 0}) != [found]
    with pytest.raises(WireError, match=r"lacks the trait 'side': add \"traits\""):
        ask(model, examples=[window.tolist()])
    for wrong, said in (
        (window[:100], "has 100 x 6; 128 rows x 6 channels are needed"),
        (window[:, :5], "has 128 x 5; 128 rows x 6 channels are needed"),
        (window[None], "has 1 x 128 x 6; 128 rows x 6 channels are needed"),
        (window.reshape(-1)[:-1], "has 767 numbers; 128 rows x 6 channels = 768 are needed"),
        (window[:, 0], "has 128 numbers; 128 rows x 6 channels = 768 are needed"),
    ):
        with pytest.raises(WireError, match=f"example 0 {said}"):
            ask(model, examples=[wrong.tolist()], traits={"side": 1})


def test_a_model_that_is_not_finite_has_no_score(artefact):
    with np.errstate(over="ignore"):
        wild = OpenModel(servable(artefact, scale=1e38))
    held = Examples(x=examples(3), y=np.zeros(3, np.int64))
    with pytest.raises(TrainingError, match="not finite"):
        wild.score(held)


def test_outputs_that_are_not_finite_are_an_error_and_no_json(artefact):
    model = OpenModel(servable(artefact))
    wild = np.full((6, 128), 3e38).tolist()
    with pytest.raises(WireError, match="example 1: the model's outputs for it are not finite"):
        ask(model, examples=[examples(1)[0].tolist(), wild])


def test_a_graph_that_cannot_be_opened_is_refused(artefact):
    with pytest.raises(ConfigError, match="cannot open"):
        OpenModel(servable(artefact, graph=b"no graph"))


# int8


def test_int8_weights_are_a_third_and_say_almost_the_same(artefact, tmp_path):
    pytest.importorskip("onnx", reason="this test needs the extra: pip install -e '.[int8]'")
    exact = servable(artefact)
    graph = quantized(exact, tmp_path)
    small = dataclasses.replace(exact, precision="int8", graph=graph, parameters=b"")
    assert len(graph) < (len(exact.graph) + len(exact.parameters)) / 2
    x = examples(20)
    before, after = OpenModel(exact).outputs(x), OpenModel(small).outputs(x)
    assert not np.array_equal(before, after)
    # 8 bits a weight and a value leave 1 in 256 of a tensor's range; four layers add some of it
    assert np.abs(after - before).max() < 0.25 * np.abs(before).max()
    assert list(tmp_path.iterdir()) == [], "no file is left"
    assert OpenModel(small).servable.version["precision"] == "int8"


def test_what_cannot_be_quantized_is_refused_with_the_reason(artefact, tmp_path):
    pytest.importorskip("onnx", reason="this test needs the extra: pip install -e '.[int8]'")
    with pytest.raises(ConfigError, match="could not be quantized to int8: "):
        quantized(servable(artefact, graph=b"no graph"), tmp_path)


def helpers():
    """The processes of this one that quantize, once they have begun to."""
    threads = Path("/proc/self/task").glob("*/children")
    for pid in [int(pid) for thread in threads for pid in thread.read_text().split()]:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        ignored = int(re.search(r"^SigIgn:\s*(\w+)", status, re.MULTILINE)[1], 16)
        if ignored >> (signal.SIGTERM - 1) & 1:
            yield pid


LOOK_S = 0.01  # quantizing takes some tenths of a second, so it is seen at it many times


def signalled(number, sent):
    """What is asked while the model is quantized, used to send a signal to who does it."""
    for pid in helpers():
        os.kill(pid, number)
        sent.append(pid)
    return False


def test_a_stop_of_all_processes_does_not_end_the_quantizing_by_itself(artefact, tmp_path):
    pytest.importorskip("onnx", reason="this test needs the extra: pip install -e '.[int8]'")
    sent = []
    assert quantized(
        servable(artefact), tmp_path, cancelled=lambda: signalled(signal.SIGTERM, sent),
        look_s=LOOK_S,
    )  # fmt: skip
    assert sent


def test_a_killed_helper_or_one_that_is_wanted_no_longer_says_nothing_of_the_model(
    artefact, tmp_path
):
    def killing():
        return signalled(signal.SIGKILL, [])

    with pytest.raises(Unjudged, match="not quantized to int8: killed by SIGKILL"):
        quantized(servable(artefact), tmp_path, cancelled=killing, look_s=LOOK_S)
    with pytest.raises(Unjudged, match="not quantized to int8: it is wanted no longer"):
        quantized(servable(artefact), tmp_path, cancelled=lambda: any(helpers()), look_s=LOOK_S)
    (tmp_path / "full").write_text("a file, where no directory can be")
    with pytest.raises(Unjudged, match=r"not quantized to int8: .*File exists"):
        quantized(servable(artefact), tmp_path / "full")
    assert [path.name for path in tmp_path.iterdir()] == ["full"], "no other file is left"


def test_a_model_is_read_as_it_was_written(artefact):
    before = servable(artefact, round=3)
    document, arrays = before.to_record()
    after = type(before).from_record(
        json.loads(json.dumps(document)), {n: np.frombuffer(a, np.uint8) for n, a in arrays.items()}
    )
    assert after.to_record() == before.to_record()
    assert np.array_equal(
        OpenModel(after).outputs(examples(2)), OpenModel(before).outputs(examples(2))
    )
