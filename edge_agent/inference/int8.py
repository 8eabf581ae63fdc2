"""Quantize a served graph's weights to int8, in a process of its own that ends with it.

``onnxruntime.quantization`` brings the package ``onnx``, of the extra ``int8``: together more
memory than all else a device holds. Weights are quantized channel by channel, once; what goes
through the graph is quantized as it comes, so no recordings are needed to calibrate with.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from edge_agent.inference.servable import Servable
from fedtier.artefact.manifest import MODEL_DATA_FILE
from fedtier.errors import ConfigError

_GRAPH, _FOLDED, _QUANTIZED = "infer.onnx", "folded.onnx", "int8.onnx"
_TIME_S = 600.0


def quantized(servable: Servable, directory: Path) -> bytes:
    """The graph of a model with int8 weights, which has all of them inside.

    Args:
        servable: In float32.
        directory: Where there is room for files that go again.

    Raises:
        ConfigError: If it cannot be done; says why.
    """
    try:
        return _quantized(servable, directory)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"the model could not be quantized to int8: {error}") from error


def _quantized(servable: Servable, directory: Path) -> bytes:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="int8-", dir=directory) as name:
        place = Path(name)
        (place / _GRAPH).write_bytes(servable.graph)
        (place / MODEL_DATA_FILE).write_bytes(servable.parameters)
        command = [sys.executable, "-P", "-m", "edge_agent.inference.int8", name]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIME_S, check=False
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["killed"]
            raise ConfigError(f"the model could not be quantized to int8: {said[-1]}")
        return (place / _QUANTIZED).read_bytes()


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
    _quantize(Path(sys.argv[1]))
