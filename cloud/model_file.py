"""``model.json``: what a program that predicts with the run's ``model.onnx`` has to know."""

from __future__ import annotations

from typing import Any

from fedtier.artefact.artefact import Artefact
from fedtier.data.preprocessing import Pipeline

MODEL_FILE = "model.json"
FORMAT = 1


def model_document(artefact: Artefact, *, model_digest: str) -> dict[str, Any]:
    """The document of ``model.json``.

    Args:
        artefact: What the model was trained with.
        model_digest: The model's, 64 hexadecimal digits.
    """
    manifest = artefact.manifest
    pipeline = Pipeline.from_json(manifest.preprocessing, where=manifest.name)
    # The inference graph takes one example; the compiler names its input and output so.
    return {
        "format": FORMAT,
        "name": manifest.name,
        "model_digest": model_digest,
        "artefact_digest": artefact.digest,
        "labels": list(manifest.labels),
        "loss": manifest.loss.kind,
        "input": {"name": "x", "shape": [1, *manifest.input_shape], "dtype": manifest.input_dtype},
        "output": {"name": "logits", "shape": [1, *manifest.output_shape], "dtype": "float32"},
        "preprocessing": pipeline.to_json(),
        "fitted_per_device": list(pipeline.fitted_per_device),
    }
