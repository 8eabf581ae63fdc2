"""How long a compiled training step takes beside torch's own, on one thread.

Both do what a device's local step does: forward, loss, gradient, plain SGD on a batch of 32; ours
with onnxruntime in this process, torch's eagerly. Blocks of steps run in turn. For every lowering
of a net, and for the net with 1.6 million parameters also where the time goes::

    python -m benchmarks.step_time --out benchmarks/results/step_time.json
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

from benchmarks.measure import Gate, Record, arguments_of, in_turn, progress, ratios, spread
from benchmarks.step_models import CASES, Case
from cloud.compiler.compile import compile_module
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.manifest import TRAIN_FILE
from fedtier.artefact.session import session_options

RATIO_MAX = 0.9
JUDGED = ("MLP", "LeNet", "IMU net", "GRU")
EXPLAINED = "CNN"
BATCH = 32
_REPEATS = 31
_BLOCK_S = 0.1
_MU = 0.01
_PROFILED_STEPS = 20

Step = Callable[[], None]
Feed = Mapping[str, Any]


def main() -> int:
    """Measure and judge."""
    parser = arguments_of(__doc__)
    parser.add_argument("--repeats", type=int, default=_REPEATS)
    parser.add_argument("--net", action="append", choices=list(CASES), help="only this; repeatable")
    chosen = parser.parse_args()
    record = Record("step_time", chosen)
    torch.set_num_threads(1)
    results = {
        name: _measured(name, case, repeats=chosen.repeats)
        for name, case in CASES.items()
        if name in (chosen.net or CASES)
    }
    gates = [
        Gate(
            name=f"{name}: compiled step / torch eager",
            value=results[name]["lowerings"][CASES[name].lowerings[0]]["ratio to torch"]["median"],
            at_most=RATIO_MAX,
        )
        for name in JUDGED
        if name in results
    ]
    complete = chosen.repeats >= _REPEATS and not chosen.net
    return record.close(results, gates=gates, complete=complete)


def _measured(name: str, case: Case, *, repeats: int) -> dict[str, Any]:
    artefacts = {lowering: _compiled(name, case, lowering) for lowering in case.lowerings}
    first = artefacts[case.lowerings[0]]
    feed = _feed(first, case)
    steps: dict[str, Step] = {"torch": _torch_step(case, feed)}
    steps |= {lowering: _compiled_step(a, feed) for lowering, a in artefacts.items()}
    for step in steps.values():
        step()
    count = _steps_in(_BLOCK_S, steps["torch"])
    tasks = {what: partial(_seconds, step, count=count) for what, step in steps.items()}
    found = in_turn(tasks, repeats=repeats)
    result: dict[str, Any] = {
        "parameters": first.manifest.parameters,
        "steps in a block": count,
        "torch ms": spread(1e3 * seconds for seconds in found["torch"]),
        "lowerings": {
            lowering: {
                "ratio to torch": ratios(found[lowering], found["torch"]),
                "ms": spread(1e3 * seconds for seconds in found[lowering]),
            }
            for lowering in artefacts
        },
    }
    if name == EXPLAINED:
        result["share of the step"] = _shares(first, feed)
        result["share of torch's step"] = _torch_shares(steps["torch"])
    for lowering, figures in result["lowerings"].items():
        ratio = figures["ratio to torch"]
        progress(
            f"{name}, {lowering}: {ratio['median']:.2f} of torch's step "
            f"({ratio['min']:.2f} to {ratio['max']:.2f})"
        )
    return result


def _compiled(name: str, case: Case, lowering: str) -> Artefact:
    torch.manual_seed(1)
    return compile_module(
        case.make(), name=name, input_shape=case.input_shape,
        labels=[str(number) for number in range(case.classes)], batch=BATCH, out=None,
        lowering=lowering,
    ).artefact  # fmt: skip


def _feed(artefact: Artefact, case: Case) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {
        "w": artefact.initial(),
        "x": rng.standard_normal((BATCH, *case.input_shape)).astype(np.float32),
        "y": rng.integers(0, case.classes, BATCH),
        "mu": np.asarray(_MU, np.float32),
    }


def _compiled_step(artefact: Artefact, feed: Feed) -> Step:
    session, state = artefact.train_session(), dict(feed)

    def step() -> None:
        _, state["w"] = session.run(["loss", "w_next"], state)

    return step


def _torch_step(case: Case, feed: Feed) -> Step:
    torch.manual_seed(1)
    module = case.make().train()
    optimiser = torch.optim.SGD(module.parameters(), lr=_MU)
    x, y = torch.from_numpy(feed["x"]), torch.from_numpy(feed["y"])

    def step() -> None:
        optimiser.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def _steps_in(seconds: float, step: Step) -> int:
    return max(1, round(seconds / _seconds(step, count=3)))


def _seconds(step: Step, *, count: int) -> float:
    """Of one step, in the mean of a block."""
    began_s = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - began_s) / count


def _shares(artefact: Artefact, feed: Feed) -> dict[str, float]:
    """Which operators a step spends its time in, as onnxruntime's profile has it."""
    with tempfile.TemporaryDirectory(prefix="fedtier-benchmark-") as directory:
        options = session_options()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(directory) / "profile")
        session = onnxruntime.InferenceSession(
            artefact.files[TRAIN_FILE], options, providers=["CPUExecutionProvider"]
        )
        for _ in range(_PROFILED_STEPS):
            session.run(["w_next"], feed)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    spent: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[_described(event["args"])] += event["dur"]
    whole = sum(spent.values())
    return {what: micros / whole for what, micros in spent.most_common(8)}


def _torch_shares(step: Step) -> dict[str, float]:
    """The same of torch's step, as its own profile has it."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(_PROFILED_STEPS):
            step()
    spent = Counter(
        {event.key: float(event.self_cpu_time_total) for event in profile.key_averages()}
    )
    whole = sum(spent.values())
    return {what: micros / whole for what, micros in spent.most_common(8)}


def _described(node: Mapping[str, Any]) -> str:
    """The operator; of a convolution also the shapes of what it reads."""
    operator = str(node["op_name"])
    if "Conv" not in operator:
        return operator
    shapes = [next(iter(told.values())) for told in node["input_type_shape"][:2]]
    return f"{operator} {' * '.join('x'.join(map(str, shape)) for shape in shapes)}"


if __name__ == "__main__":
    sys.exit(main())
