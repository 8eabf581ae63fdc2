"""A process that serves: swaps without a dropped request, and whatever dies is started again."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from application import Application, Looping
from inference_world import bare_imu, examples, listening, servable

from edge_agent.inference.serving_process import ServingProcess
from edge_agent.inference.store import Served, read_served, write_served
from edge_agent.inference.verdict import Unjudged
from fedtier.artefact.evaluate import Score

SWAPS = 6


@pytest.fixture(scope="module")
def artefact():
    return bare_imu()


@pytest.fixture
def endpoint(short_path):
    return short_path / "s"


@pytest.fixture
def process(endpoint, tmp_path):
    with listening(endpoint) as listener:
        process = ServingProcess(listener, state_dir=tmp_path, threads=1)
        yield process
        process.end()


def consider(process, candidate, *, held=4, shape=(6, 128), **others):
    document, content = candidate.to_record()
    arrays = {name: np.frombuffer(array, np.uint8) for name, array in content.items()}
    holdout = {"x": examples(held, shape=shape), "y": np.zeros(held, np.int64)}
    return process.ask({"do": "consider", "model": document}, {**arrays, **holdout}, **others)


def serve(process, candidate):
    return process.ask({"do": "serve", "version": candidate.version}, {})["served"]


def keep(tmp_path: Path, candidate):
    score = Score(examples=4, correct=2, loss_units=7, judged=4)
    write_served(tmp_path, Served(servable=candidate, score=score, data="d" * 64))


def test_no_request_is_dropped_while_models_are_swapped(process, endpoint, artefact, eventually):
    models = [servable(artefact, round=n, scale=1 + n / 10) for n in range(SWAPS)]
    assert set(consider(process, models[0])) == {"score"}
    assert serve(process, models[0])
    clients = [Looping(endpoint, example=examples(1)[0].tolist()) for _ in range(3)]
    for client in clients:
        client.start()
    for model in models:
        consider(process, model)
        assert serve(process, model)
        eventually(
            lambda model=model: all(
                c.versions[-1:] == [(model.round, model.model)] for c in clients
            ),
            f"all clients see round {model.round}",
        )
    for client in clients:
        client.end()
        assert client.errors == []
        assert client.versions == [(m.round, m.model) for m in models], "none twice, none older"


def test_a_candidate_that_is_not_chosen_is_never_seen(process, endpoint, artefact):
    chosen, other = servable(artefact, round=1), servable(artefact, round=2, scale=0.5)
    consider(process, chosen)
    assert serve(process, chosen)
    consider(process, other)
    with Application(endpoint) as application:
        assert application.ask(examples=[])["model"] == chosen.version
    assert not serve(process, servable(artefact, round=3)), "a model it does not have"


def test_a_candidate_that_fails_is_told_with_the_reason(process, endpoint, artefact):
    consider(process, servable(artefact))
    assert serve(process, servable(artefact))
    wild = servable(artefact, round=1, scale=1e38)
    assert "not finite" in consider(process, wild)["failed"]
    assert not serve(process, wild)
    assert "cannot open" in consider(process, servable(artefact, graph=b"x"))["failed"]
    fewer = servable(
        artefact, manifest=dataclasses.replace(artefact.manifest, input_shape=(5, 128))
    )
    before = process.pid
    assert "cannot run" in consider(process, fewer, shape=(5, 128))["failed"]
    with Application(endpoint) as application:
        assert application.ask(examples=[])["model"] == servable(artefact).version
    assert process.pid == before


def test_killed_it_is_started_again_with_what_was_accepted(
    process, endpoint, artefact, tmp_path, eventually, caplog
):
    kept = servable(artefact, round=4)
    keep(tmp_path, kept)
    before = process.pid
    os.kill(before, signal.SIGKILL)
    eventually(lambda: process.pid != before, "another process")
    with Application(endpoint) as application:  # waits until it is up, and is not refused
        assert application.ask(examples=[])["model"] == kept.version
    assert "serving process died" in caplog.text


def test_killed_over_a_question_it_is_asked_again(process, artefact):
    before = process.pid
    os.kill(before, signal.SIGSTOP)
    os.kill(before, signal.SIGKILL)
    assert "score" in consider(process, servable(artefact))
    assert process.pid != before


def test_stuck_over_a_question_it_is_killed_and_asked_again(endpoint, tmp_path, artefact):
    with listening(endpoint) as listener:
        process = ServingProcess(listener, state_dir=tmp_path, threads=1, answer_s=5)
        os.kill(process.pid, signal.SIGSTOP)
        assert "score" in consider(process, servable(artefact))
        process.end()


def test_an_answer_that_is_wanted_no_longer_is_not_waited_for(process, endpoint, artefact):
    """It belongs to no later question, and to give it up ends neither process nor connections."""
    first, second = servable(artefact, round=1), servable(artefact, round=2)
    with Application(endpoint) as application:
        assert "score" in consider(process, first)
        before = process.pid
        os.kill(before, signal.SIGSTOP)
        for _ in range(2):  # when it is asked, and while the answer to that is owed
            with pytest.raises(Unjudged, match="wanted no longer"):
                process.ask({"do": "score"}, {}, cancelled=lambda: True)
        os.kill(before, signal.SIGCONT)
        assert "score" in consider(process, second)
        assert serve(process, second)
        assert application.ask(examples=[])["model"] == second.version
        assert process.pid == before


def test_it_ends_while_it_is_asked(process, artefact, eventually):
    """Whoever asks lets go of what the end needs, however long the answer takes."""
    os.kill(process.pid, signal.SIGSTOP)
    found = []

    def ask():
        with pytest.raises(Unjudged) as raised:
            consider(process, servable(artefact))
        found.append(raised.value)

    asking = threading.Thread(target=ask)
    asking.start()
    eventually(process._lock.locked, "it is asked")
    ending = threading.Thread(target=process.end)
    ending.start()
    eventually(lambda: found, "the question is given up")
    os.kill(process.pid, signal.SIGCONT)
    ending.join()


def test_what_was_accepted_is_there_after_a_restart_and_garbage_is_passed_over(
    endpoint, artefact, tmp_path
):
    kept = servable(artefact, round=9)
    keep(tmp_path, kept)
    found = read_served(tmp_path)
    assert found is not None
    assert (found.servable.version, found.data) == (kept.version, "d" * 64)
    assert found.score == Score(examples=4, correct=2, loss_units=7, judged=4)
    (tmp_path / "served.record").write_bytes(b"FTR1 torn")
    assert read_served(tmp_path) is None
    with listening(endpoint) as listener:
        process = ServingProcess(listener, state_dir=tmp_path, threads=1)
        with Application(endpoint) as application:
            assert "no model" in application.ask(examples=[])["error"]
        process.end()


def test_it_ends_with_its_agent(endpoint, tmp_path, eventually):
    """The agent's end of the control socket closes, however the agent went."""
    with listening(endpoint) as listener:
        process = ServingProcess(listener, state_dir=tmp_path, threads=1)
        with Application(endpoint) as application:
            application.ask(examples=[])
            pid = process.pid
            process.end()
            with pytest.raises((ConnectionError, socket.timeout)):
                application.ask(examples=[])
        eventually(lambda: not Path(f"/proc/{pid}").exists(), "the process is gone")


def test_what_was_asked_before_its_end_is_answered(endpoint, artefact, tmp_path):
    keep(tmp_path, servable(artefact))
    with listening(endpoint) as listener:
        process = ServingProcess(listener, state_dir=tmp_path, threads=1)
        with Application(endpoint) as application:
            application.ask(examples=[])  # so it is being served
            ten = json.dumps({"examples": examples(10).tolist()}).encode()
            application.link.sendall(ten + b"\n")
            process.end()
            assert len(json.loads(application._answers.readline())["predictions"]) == 10


def test_its_memory_and_processor_time_are_known(process, endpoint):
    with Application(endpoint) as application:
        application.ask(examples=[])
    peak_kib, cpu_ms = process.usage()
    assert peak_kib > 10_000  # Python, numpy and onnxruntime take at least that
    assert cpu_ms > 0
