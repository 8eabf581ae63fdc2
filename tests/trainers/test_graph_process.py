"""The graph process: the same bits as in the agent itself, and nothing lost when it is killed."""

from __future__ import annotations

import hashlib
import itertools
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_trainers import examples, never, task
from torch import nn

from cloud.compiler.compile import compile_module
from edge_agent.graph_process import GraphProcess
from edge_agent.out_of_memory import OutOfMemory, oom_kills
from edge_agent.trainer_onnx import OnnxTrainer
from fedtier.artefact.evaluate import score
from fedtier.artefact.find import find_artefact
from fedtier.artefact.manifest import EVALUATE_FILE, GRADIENT_FILE, TRAIN_FILE
from fedtier.errors import ConfigError, TrainingError


@pytest.fixture(scope="module")
def artefact():
    return find_artefact("package:imu")


@pytest.fixture
def graphs(artefact):
    process = GraphProcess(artefact.files, keep_s=60)
    yield process
    process.end()


def trained(artefact, process, *, cancelled=never):
    trainer = OnnxTrainer(artefact, graph=process.graph(TRAIN_FILE))
    return trainer.train(task(artefact), examples(), cancelled=cancelled)


def digest(outcome):
    return hashlib.sha256(outcome.model.tobytes()).hexdigest(), outcome.loss_sum


def test_another_process_trains_and_scores_to_the_same_bit(artefact, graphs):
    here = OnnxTrainer(artefact).train(task(artefact), examples(), cancelled=never)
    there = trained(artefact, graphs)
    assert digest(there) == digest(here)
    remote = score(graphs.graph(EVALUATE_FILE), there.model, examples())
    assert remote == score(artefact.evaluate_session(), there.model, examples())


def test_work_can_be_given_up_between_stretches_that_are_bounded(artefact, graphs):
    graph = graphs.graph(TRAIN_FILE)
    assert graph.stretch == 1  # a step's time is not known yet
    OnnxTrainer(artefact, graph=graph).train(task(artefact), examples(), cancelled=never)
    step_bytes = artefact.manifest.batch * (6 * 128 * 4 + 8) + 4  # x, y and mu
    assert 1 <= graph.stretch <= 2**20 // step_bytes


def test_a_step_that_is_not_finite_is_named_wherever_in_a_stretch_it_is(artefact, graphs):
    trainer = OnnxTrainer(artefact, graph=graphs.graph(TRAIN_FILE))
    trainer.train(task(artefact), examples(), cancelled=never)  # it knows a step's time
    given = task(artefact)
    given.model[-7:] = [3e38, -3e38, 3e38, -3e38, 0, 0, 0]
    with pytest.raises(TrainingError, match=r"the loss is not finite after local step 1 of 4"):
        trainer.train(given, examples(), cancelled=never)


@pytest.mark.parametrize("step", [0, 1])
def test_a_kill_in_mid_iteration_changes_no_bit(artefact, graphs, step, caplog):
    whole = trained(artefact, graphs)
    asked = itertools.count()

    def killing():
        if next(asked) == step:
            os.kill(graphs.pid, signal.SIGKILL)
        return False

    assert digest(trained(artefact, graphs, cancelled=killing)) == digest(whole)
    assert caplog.messages == ["graph process killed"]
    assert caplog.records[0].signal == "SIGKILL"


def test_a_process_that_is_killed_every_time_is_a_training_error(artefact, tmp_path, monkeypatch):
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -KILL $$\n", encoding="ascii")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    process = GraphProcess(artefact.files, keep_s=60)
    with pytest.raises(TrainingError, match="killed 3 times in a row"):
        trained(artefact, process)
    process.end()


def test_a_process_that_is_not_asked_ends_by_itself_and_another_answers(
    artefact, eventually, caplog
):
    process = GraphProcess(artefact.files, keep_s=0.2)
    before_ms = process.usage()[1]  # of other tests' processes
    first = trained(artefact, process)
    running_ms = process.usage()[1] - before_ms
    pid = process.pid
    status = Path(f"/proc/{pid}/stat")
    eventually(lambda: status.read_text().rpartition(") ")[2][0] == "Z", "it has ended")
    for _ in range(2):  # counted once, whether its end was noticed before or not
        assert running_ms <= process.usage()[1] - before_ms < 1.5 * running_ms
    assert digest(trained(artefact, process)) == digest(first)
    assert process.pid != pid
    assert caplog.messages == []  # nothing to tell an operator of
    process.end()


def test_what_it_used_is_counted_over_all_its_processes(artefact, graphs):
    assert graphs.usage()[0] == 0
    trained(artefact, graphs)
    peak_kib, cpu_ms = graphs.usage()
    assert peak_kib > 20_000  # onnxruntime's libraries alone
    graphs.end()
    assert graphs.usage()[0] == peak_kib
    assert graphs.usage()[1] >= cpu_ms > 0


def test_it_ends_with_the_agent_however_that_ends(artefact, tmp_path, eventually):
    program = (
        "import os, signal\n"
        "from edge_agent.graph_process import GraphProcess\n"
        "from fedtier.artefact.find import find_artefact\n"
        "process = GraphProcess(find_artefact('package:imu').files, keep_s=600)\n"
        "process.slots('evaluate.onnx', 'inputs')\n"
        "print(process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL
    status = Path(f"/proc/{int(done.stdout)}/stat")

    def gone():
        return not status.exists() or status.read_text().rpartition(") ")[2][0] == "Z"

    eventually(gone, "the graph process has ended")


def test_a_graph_that_onnxruntime_refuses_is_named(artefact):
    process = GraphProcess({TRAIN_FILE: b"no graph"}, keep_s=60)
    with pytest.raises(ConfigError, match=r"train\.onnx: onnxruntime .* cannot open"):
        process.slots(TRAIN_FILE, "inputs")
    process.end()


def test_inputs_and_outputs_are_told_as_onnxruntime_tells_them(artefact, graphs):
    remote, here = graphs.graph(EVALUATE_FILE), artefact.evaluate_session()
    for name in ("get_inputs", "get_outputs"):
        told = [(slot.name, slot.shape) for slot in getattr(remote, name)()]
        assert told == [(slot.name, tuple(slot.shape)) for slot in getattr(here, name)()]


def test_the_agent_never_loads_onnxruntime():
    program = "import sys, edge_agent.run; print([m for m in sys.modules if 'onnxruntime' in m])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"


def test_arrays_of_every_shape_cross_unchanged(graphs, artefact):
    w = artefact.initial()[::-1]  # not contiguous, as a slice of a larger array may be
    x = np.zeros((artefact.manifest.evaluate_batch, *artefact.manifest.input_shape), np.float32)
    (remote,) = graphs.graph(EVALUATE_FILE).run(["logits"], {"w": w, "x": x})
    (here,) = artefact.evaluate_session().run(["logits"], {"w": np.ascontiguousarray(w), "x": x})
    assert remote.tobytes() == here.tobytes()
    assert remote.shape == here.shape


# Killed for memory: what the kernel counts is told apart from any other kill


def counting(directory: Path, count: int) -> Path:
    """A place like /proc in which the kernel has ended so many processes."""
    (directory / "vmstat").write_text(f"nr_free_pages 9\noom_kill {count}\n", encoding="ascii")
    return directory


def killing_at(graphs, place, steps):
    """Kills the graph process before these steps, and counts it as the kernel would."""
    asked = itertools.count()

    def cancelled():
        step = next(asked)
        if step in steps:
            counting(place, 1 + step)
            os.kill(graphs.pid, signal.SIGKILL)
        return False

    return cancelled


@pytest.fixture(scope="module")
def in_parts():
    """A small net that was compiled with parts of 8 rows for its batches of 32."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv1d(6, 4, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 31, 7))
    return compile_module(
        net, name="parts", input_shape=(6, 128), labels=list("abcdefg"), batch=32, microbatch=8,
        out=None,
    ).artefact  # fmt: skip


def trainer_of(artefact, graphs):
    return OnnxTrainer(
        artefact, graph=graphs.graph(TRAIN_FILE), gradient=graphs.graph(GRADIENT_FILE)
    )


def test_a_step_that_is_killed_for_memory_is_done_by_parts_to_the_same_mathematics(
    in_parts, tmp_path, caplog
):
    graphs = GraphProcess(in_parts.files, keep_s=60, proc=counting(tmp_path, 0))
    cancelled = killing_at(graphs, tmp_path, {1})
    given = task(in_parts)
    whole = OnnxTrainer(in_parts).train(given, examples(), cancelled=never)
    parts = trainer_of(in_parts, graphs).train(given, examples(), cancelled=cancelled)
    graphs.end()
    assert caplog.messages == ["graph process killed", "training by parts of a batch"]
    assert caplog.records[1].rows == 8
    moved = np.linalg.norm(whole.model - given.model)
    # The same sum in another order, in float32: some 1e-7 of the gradient at each of four steps.
    assert 0 < np.linalg.norm(parts.model - whole.model) <= 1e-5 * moved
    assert parts.loss_sum == pytest.approx(whole.loss_sum, rel=1e-5)


def test_work_by_parts_can_be_given_up_at_every_step(in_parts, tmp_path):
    graphs = GraphProcess(in_parts.files, keep_s=60, proc=counting(tmp_path, 0))
    trainer = trainer_of(in_parts, graphs)
    trainer.train(task(in_parts), examples(), cancelled=never)  # so that a stretch is several steps
    kill, asked = killing_at(graphs, tmp_path, {0}), itertools.count()
    trainer.train(task(in_parts), examples(), cancelled=lambda: next(asked) < 0 or kill())
    graphs.end()
    assert next(asked) == 4  # before each of the four steps, though all were drawn at once


def test_parts_that_are_killed_too_are_an_error_that_says_so_and_no_bug(in_parts, tmp_path):
    graphs = GraphProcess(in_parts.files, keep_s=60, proc=counting(tmp_path, 0))
    trainer = trainer_of(in_parts, graphs)
    cancelled = killing_at(graphs, tmp_path, {1, 2})
    with pytest.raises(OutOfMemory, match="the kernel killed the graph process"):
        trainer.train(task(in_parts), examples(), cancelled=cancelled)
    graphs.end()


def test_without_a_gradient_graph_it_is_tried_once_more_to_the_same_bits(
    artefact, tmp_path, caplog
):
    graphs = GraphProcess(artefact.files, keep_s=60, proc=counting(tmp_path, 0))
    there = trained(artefact, graphs, cancelled=killing_at(graphs, tmp_path, {1}))
    graphs.end()
    here = OnnxTrainer(artefact).train(task(artefact), examples(), cancelled=never)
    assert digest(there) == digest(here)
    assert caplog.messages == ["graph process killed", "training once more"]


def test_memory_that_is_refused_rather_than_taken_back_counts_as_none_left(
    artefact, graphs, caplog
):
    """As under a limit of the address space, or where the kernel promises no more than it has."""
    graph = graphs.graph(TRAIN_FILE)
    graph.get_inputs()
    held = int(Path(f"/proc/{graphs.pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(graphs.pid, resource.RLIMIT_AS, (held + 2**21, held + 2**21))
    limited = graphs.pid
    there = trained(artefact, graphs)
    assert caplog.messages == ["training once more"]
    assert caplog.records[0].reason.startswith("memory: ")
    assert graphs.pid != limited  # what it held is given back
    here = OnnxTrainer(artefact).train(task(artefact), examples(), cancelled=never)
    assert digest(there) == digest(here)


@pytest.mark.parametrize(("text", "count"), [("oom_kill 3\n", 3), ("nr_free_pages 1\n", None)])
def test_the_kernels_count_is_read_where_it_is_told(tmp_path, text, count):
    (tmp_path / "vmstat").write_text(text, encoding="ascii")
    assert oom_kills(tmp_path) == count
    assert oom_kills(tmp_path / "nowhere") is None
