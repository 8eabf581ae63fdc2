"""What serving a model on a device costs, in float32 and in int8: memory, size, time, accuracy.

``python -m benchmarks.serving RUN``, RUN being the directory of a finished demo, whose last model
is served; needs the extra ``int8``, and root for the memory without shared pages. Each variant is a
serving process of its own, asked over its socket in turn with the other; its memory is looked at
after the last answer. Accuracy is that of RUN's held-out data, by the very graph that is served.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.measure import Record, arguments_of, in_turn, progress, ratios, spread
from benchmarks.tree_memory import held_by
from edge_agent.inference.endpoint import connect, listen
from edge_agent.inference.int8 import quantized
from edge_agent.inference.open_model import OpenModel
from edge_agent.inference.servable import Servable
from edge_agent.inference.serving_process import ServingProcess
from edge_agent.inference.store import Served, write_served
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.evaluate import Score
from fedtier.artefact.find import find_artefact
from fedtier.artefact.manifest import INFER_FILE, MODEL_DATA_FILE
from fedtier.config.federation import Federation, load_federation
from fedtier.data.examples import Examples
from fedtier.data.load import load_held_out
from fedtier.ids import RunId
from fedtier.model.layout import Vector, model_digest

_REQUESTS = 200  # in one repeat


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variant:
    """A model that is being served."""

    servable: Servable
    process: ServingProcess
    endpoint: str

    def seconds_per_request(self, request: bytes) -> float:
        """The mean over one repeat: one example out, its answer in."""
        with connect(self.endpoint) as link, link.makefile("rb") as answers:
            began_s = perf_counter()
            for _ in range(_REQUESTS):
                link.sendall(request)
                answer = json.loads(answers.readline())
                assert "predictions" in answer, answer
            return (perf_counter() - began_s) / _REQUESTS


def main() -> int:
    """Serve both, ask both in turn, and print what came of it."""
    parser = arguments_of(__doc__)
    parser.add_argument("run", type=Path, help="The directory of a finished demo.")
    parser.add_argument("--repeats", type=int, default=15)
    chosen = parser.parse_args()
    record = Record("serving", chosen)
    federation = load_federation(chosen.run / "federation.toml")
    artefact = find_artefact(federation.artefact)
    w = np.frombuffer((chosen.run / MODEL_DATA_FILE).read_bytes(), "<f4").astype(np.float32)
    held_out = _held_out(federation, artefact)
    exact = _servable(artefact, w)
    request = json.dumps({"inputs": held_out.x[:1].tolist()}).encode() + b"\n"
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        began_s = perf_counter()
        graph = quantized(exact, Path(name))
        quantizing_s = perf_counter() - began_s
        quantizing_kib = getrusage(RUSAGE_CHILDREN).ru_maxrss  # the largest child so far
        small = replace(exact, precision="int8", graph=graph, parameters=b"")
        variants = {
            each.precision: stack.enter_context(_served(each, Path(name) / each.precision))
            for each in (exact, small)
        }
        seconds = in_turn(
            {p: partial(v.seconds_per_request, request) for p, v in variants.items()},
            repeats=chosen.repeats,
        )
        results: dict[str, Any] = {
            "time of int8 / float32": ratios(seconds["int8"], seconds["float32"]),
            "seconds to quantize": quantizing_s,
            "peak MiB of the process that quantizes": quantizing_kib / 1024,
        }
        for precision, variant in variants.items():
            score = OpenModel(variant.servable).score(held_out)
            kept = len(variant.servable.graph) + len(variant.servable.parameters)
            results[precision] = {
                "microseconds a request": spread(1e6 * s for s in seconds[precision]),
                "bytes": kept, "accuracy": score.accuracy, "loss": score.loss,
                "memory_mib": asdict(held_by(variant.process.pid)),
            }  # fmt: skip
            progress(f"{precision}: {results[precision]}")
    return record.close(results, complete=chosen.repeats >= parser.get_default("repeats"))


def _held_out(federation: Federation, artefact: Artefact) -> Examples:
    assert federation.evaluation is not None, "the demo's federation has held-out people"
    found = load_held_out(
        federation.evaluation, artefact.manifest.preprocessing, where=federation.where
    )
    return Examples(
        x=np.concatenate([examples.x for _, examples in found.groups]),
        y=np.concatenate([examples.y for _, examples in found.groups]),
    )


def _servable(artefact: Artefact, w: Vector) -> Servable:
    return Servable(
        run=RunId(1), round=0, model=model_digest(artefact.layout.digest, w), precision="float32",
        manifest=artefact.manifest, fitted=artefact.manifest.preprocessing,
        graph=artefact.files[INFER_FILE], parameters=w.tobytes(),
    )  # fmt: skip


@contextmanager
def _served(servable: Servable, directory: Path) -> Iterator[_Variant]:
    """A serving process that begins with the model."""
    nothing = Score(examples=0, correct=0, loss_units=0)
    write_served(directory, Served(servable=servable, score=nothing, data=""))
    endpoint = str(directory / "s")
    with listen(endpoint, where="endpoint", waiting=1) as listener:
        process = ServingProcess(listener, state_dir=directory, threads=1)
        try:
            yield _Variant(servable=servable, process=process, endpoint=endpoint)
        finally:
            process.end()


if __name__ == "__main__":
    sys.exit(main())
