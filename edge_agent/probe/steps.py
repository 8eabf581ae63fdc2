"""How long a training step takes by each lowering on several numbers of threads; an inference."""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import default_rng  # here: numpy would load it as it is used, see ``held``

from edge_agent.graph_process import GraphProcess, ProcessGraph
from edge_agent.probe.findings import UNTIMED, Inference, Missing, NoSteps, Steps
from edge_agent.probe.held_signals import held
from edge_agent.probe.timed_runs import timed_runs
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
    with held(signal.SIGALRM):  # broken off just then, it would have nobody to end it
        process.start()
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
    return sample_feed(artefact.manifest, artefact.initial(), default_rng(0))


class StepTimes:
    """Steps by one lowering on a number of threads; what was timed stays when it is broken off."""

    def __init__(self, artefact: Artefact, lowering: str, *, threads: int) -> None:
        """Prepare; nothing is run yet.

        Args:
            artefact: Whose training graph.
            lowering: Which of them.
            threads: Of onnxruntime.
        """
        self._artefact = artefact
        self._lowering = lowering
        self._threads = threads
        self._taken_s: list[float] = []
        self._peak_kib = 0
        self._failed = ""

    def measure(self, *, end_s: float) -> None:
        """Do steps in a process of their own.

        Args:
            end_s: On the monotonic clock, see ``timed_runs``; one step there is in any case, after
                the first, in which memory is taken.
        """
        artefact, threads = self._artefact, self._threads
        try:
            with training_graph(artefact, self._lowering, threads=threads) as (process, graph):
                step = partial(graph.run, artefact.manifest.optimiser.outputs, feed_of(artefact))
                step()
                for step_s in timed_runs(step, end_s=end_s, runs_min=1, runs_max=_STEPS):
                    self._peak_kib, _ = process.usage()
                    self._taken_s.append(step_s)
        except (ConfigError, TrainingError) as error:  # a graph that is refused, want of memory
            self._failed = str(error)

    def found(self) -> Steps | NoSteps:
        """What the steps took so far, or why there are none."""
        lowering, threads = self._lowering, self._threads
        if self._failed or not self._taken_s:
            return NoSteps(lowering=lowering, threads=threads, why=self._failed or UNTIMED)
        return Steps(
            lowering=lowering,
            threads=threads,
            median_ms=1e3 * statistics.median(self._taken_s),
            fastest_ms=1e3 * min(self._taken_s),
            slowest_ms=1e3 * max(self._taken_s),
            steps=len(self._taken_s),
            peak_mib=self._peak_kib / 1024,
        )


def measure_inference(artefact: Artefact, *, end_s: float) -> Inference | Missing:
    """Predict one example again and again, with the files that a run leaves behind.

    Args:
        artefact: Whose inference graph.
        end_s: On the monotonic clock, see ``timed_runs``; two runs there are in any case.
    """
    x = np.zeros((1, *artefact.manifest.input_shape), artefact.manifest.input_dtype)
    try:
        session = _inference_session(artefact)
    except OSError as error:
        return Missing(f"the model cannot be written to {tempfile.gettempdir()}: {error.strerror}")
    predict = partial(session.run, ["logits"], {"x": x})
    predict()
    taken_s = list(timed_runs(predict, end_s=end_s, runs_min=1, runs_max=_RUNS))
    return Inference(
        median_ms=1e3 * statistics.median(taken_s),
        slowest_ms=1e3 * max(taken_s),
        runs=len(taken_s),
    )


def _inference_session(artefact: Artefact) -> OpenGraph:
    """Opened in this process, from files that are gone again: the graph reads them as it opens."""
    with held(signal.SIGINT, signal.SIGALRM):  # here: an agent never loads onnxruntime
        from fedtier.artefact.session import make_session

    with tempfile.TemporaryDirectory(prefix="fedtier-probe-") as directory:
        for name, content in artefact.inference_files(artefact.initial()).items():
            (Path(directory) / name).write_bytes(content)
        session: OpenGraph = make_session(Path(directory) / INFER_FILE)
    return session
