"""An artefact that verifies and travels as any other; its graphs are bytes that nobody opens."""

from __future__ import annotations

import hashlib

import numpy as np

from fedtier.artefact.artefact import Artefact
from fedtier.artefact.loss import Loss
from fedtier.artefact.manifest import FILES, INITIAL_FILE, TRAIN_FILE, ArtefactManifest
from fedtier.artefact.optimiser import Optimiser
from fedtier.model.layout import ParameterLayout, TensorSpec


def make_artefact(dimension: int, *, graph: bytes = b"a graph") -> Artefact:
    """Of a model of so many numbers, zeros at first; ``graph`` is most of what travels."""
    files = {name: name.encode() for name in FILES}
    files |= {TRAIN_FILE: graph, INITIAL_FILE: np.zeros(dimension, "<f4").tobytes()}
    manifest = ArtefactManifest(
        name="test", layout=ParameterLayout(tensors=(TensorSpec(name="w", shape=(dimension,)),)),
        parameters=dimension, batch=1, evaluate_batch=10, input_shape=(1,), labels=("no", "yes"),
        loss=Loss(kind="cross_entropy"), target_shape=(), optimiser=Optimiser(), masks=(),
        lowerings=("plain",), preprocessing=(), augmentation=(), opset=18, producer={},
        files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    )  # fmt: skip
    return Artefact.verify(manifest, files, where="the tests' artefact")
