"""Quantize a served graph's weights to int8, in a process of its own that ends with it.

``onnxruntime.quantization`` brings the package ``onnx``, of the extra ``int8``: together more
memory than all else a device holds. Weights are quantized channel by channel, once; what goes
through the graph is quantized as it comes, so no recordings are needed to calibrate with.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from edge_agent.inference.servable import Servable
from edge_agent.inference.verdict import Unjudged
from fedtier.artefact.manifest import MODEL_DATA_FILE
from fedtier.errors import ConfigError

_GRAPH, _FOLDED, _QUANTIZED = "infer.onnx", "folded.onnx", "int8.onnx"
_NOT_DONE = "the model was not quantized to int8: "
_TIME_S = 600.0
_LOOK_S = 0.5  # between two looks at whether it is still wanted
_NO_ROOM = 75  # exit code: neither disk nor memory had it, which says nothing of the model


def quantized(
    servable: Servable,
    directory: Path,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    look_s: float = _LOOK_S,
) -> bytes:
    """The graph of a model with int8 weights, which has all of them inside.

    Args:
        servable: In float32.
        directory: Where there is room for files that go again.
        cancelled: Whether it is wanted no longer.
        look_s: How long between two looks at that, > 0.

    Raises:
        ConfigError: If it cannot be done with this model; says why.
        Unjudged: If it was not done, for a reason that is not the model's.
    """
    try:
        return _quantized(servable, directory, cancelled, look_s=look_s)
    except OSError as error:
        raise Unjudged(f"{_NOT_DONE}{error}") from error


def _quantized(
    servable: Servable, directory: Path, cancelled: Callable[[], bool], *, look_s: float
) -> bytes:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="int8-", dir=directory) as name:
        place = Path(name)
        (place / _GRAPH).write_bytes(servable.graph)
        (place / MODEL_DATA_FILE).write_bytes(servable.parameters)
        command = [sys.executable, "-P", "-m", "edge_agent.inference.int8", name]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            said = _last_words(process, cancelled, look_s=look_s)
        code = process.returncode
        if code < 0:
            raise Unjudged(f"{_NOT_DONE}killed by {signal.Signals(-code).name}")
        if code == _NO_ROOM:
            raise Unjudged(f"{_NOT_DONE}{said}")
        if code:
            raise ConfigError(f"the model could not be quantized to int8: {said}")
        return (place / _QUANTIZED).read_bytes()


def _last_words(
    process: subprocess.Popen[bytes], cancelled: Callable[[], bool], *, look_s: float
) -> str:
    """The last line it writes to stderr, when it has ended; it is ended if it is not wanted."""
    until_s = time.monotonic() + _TIME_S
    while True:
        try:
            _, said = process.communicate(timeout=look_s)
        except subprocess.TimeoutExpired:
            if cancelled() or time.monotonic() > until_s:
                process.kill()
                raise Unjudged(
                    f"{_NOT_DONE}it is wanted no longer"
                    if cancelled()
                    else f"{_NOT_DONE}it took more than {_TIME_S:g} s"
                ) from None
        else:
            return (said.decode(errors="replace").strip().splitlines() or ["no reason said"])[-1]


def _quantize(place: Path) -> None:
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Weights that the graph reshapes before it uses them become constants first: only those are
    # quantized once and for all.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(place / _FOLDED)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        str(place / _GRAPH), sess_options=options, providers=["CPUExecutionProvider"]
    )
    quantize_dynamic(
        place / _FOLDED,
        place / _QUANTIZED,
        op_types_to_quantize=["MatMul", "Gemm", "Conv"],
        per_channel=True,
        weight_type=QuantType.QUInt8,
    )


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to a whole group; the agent ends this
        signal.signal(number, signal.SIG_IGN)
    try:
        _quantize(Path(sys.argv[1]))
    except (OSError, MemoryError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(_NO_ROOM)
