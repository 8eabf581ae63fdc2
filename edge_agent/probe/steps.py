"""How long a training step takes by each lowering on several numbers of threads; an inference."""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from edge_agent.graph_process import GraphProcess, ProcessGraph
from edge_agent.probe.findings import Inference, Missing, NoSteps, Steps
from edge_agent.step_timing import time_steps
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.manifest import INFER_FILE
from fedtier.artefact.open_graph import Array, OpenGraph
from fedtier.artefact.sample_feed import sample_feed
from fedtier.errors import ConfigError, TrainingError

_STEPS = 200
_RUNS = 200


def thread_counts(cores: int) -> tuple[int, ...]:
    """1, 2, 4 ... and all of the cores."""
    doubled = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    return (*doubled, cores)


@contextmanager
def training_graph(
    artefact: Artefact, lowering: str, *, threads: int
) -> Iterator[tuple[GraphProcess, ProcessGraph]]:
    """A graph process as an agent has it, and its training graph; gone at the end of the block."""
    name = artefact.manifest.train_file(lowering)
    process = GraphProcess({name: artefact.files[name]}, threads=threads)
    try:
        yield process, process.graph(name)
    except BaseException:
        if process.pid is not None:  # now, and not at the end of the step that it is in
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        raise
    finally:
        process.end()


def feed_of(artefact: Artefact) -> Mapping[str, Array]:
    """One and the same random batch, from the initial model."""
    return sample_feed(artefact.manifest, artefact.initial(), np.random.default_rng(0))


def measure_steps(
    artefact: Artefact, lowering: str, *, threads: int, end_s: float
) -> Steps | NoSteps:
    """Time steps in a process of their own.

    Args:
        artefact: Whose training graph.
        lowering: Which of them.
        threads: Of onnxruntime.
        end_s: On the monotonic clock; none begins later, but for the first few.
    """
    outputs = artefact.manifest.optimiser.outputs
    try:
        with training_graph(artefact, lowering, threads=threads) as (process, graph):
            found = time_steps(graph, outputs, feed_of(artefact), steps=_STEPS, end_s=end_s)
            assert found is not None, "nobody cancels it"
            peak_kib, _ = process.usage()
    except (ConfigError, TrainingError) as error:  # a graph that is refused, want of memory
        return NoSteps(lowering=lowering, threads=threads, why=str(error))
    return Steps(
        lowering=lowering,
        threads=threads,
        median_ms=1e3 * found.median_s,
        fastest_ms=1e3 * found.fastest_s,
        slowest_ms=1e3 * found.slowest_s,
        steps=found.steps,
        peak_mib=peak_kib / 1024,
    )


def measure_inference(artefact: Artefact, *, end_s: float) -> Inference | Missing:
    """Predict one example again and again, with the files that a run leaves behind.

    Args:
        artefact: Whose inference graph.
        end_s: On the monotonic clock; no run but the first two begins later.
    """
    x = np.zeros((1, *artefact.manifest.input_shape), artefact.manifest.input_dtype)
    try:
        session = _inference_session(artefact)
    except OSError as error:
        return Missing(f"the model cannot be written to {tempfile.gettempdir()}: {error.strerror}")
    session.run(["logits"], {"x": x})
    taken_s: list[float] = []
    while not taken_s or (len(taken_s) < _RUNS and time.monotonic() < end_s):
        began_s = time.perf_counter()
        session.run(["logits"], {"x": x})
        taken_s.append(time.perf_counter() - began_s)
    return Inference(
        median_ms=1e3 * statistics.median(taken_s),
        slowest_ms=1e3 * max(taken_s),
        runs=len(taken_s),
    )


def _inference_session(artefact: Artefact) -> OpenGraph:
    """Opened in this process, from files that are gone again: the graph reads them as it opens."""
    from fedtier.artefact.session import make_session  # here: an agent never loads onnxruntime

    with tempfile.TemporaryDirectory(prefix="fedtier-probe-") as directory:
        for name, content in artefact.inference_files(artefact.initial()).items():
            (Path(directory) / name).write_bytes(content)
        session: OpenGraph = make_session(Path(directory) / INFER_FILE)
    return session
