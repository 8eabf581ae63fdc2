"""A model that is open to be asked: examples in, outputs and what they mean out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.inference.requests import Request
from edge_agent.inference.servable import Servable
from fedtier.artefact.evaluate import Score, score_outputs
from fedtier.artefact.manifest import ArtefactManifest
from fedtier.artefact.open_graph import Array
from fedtier.artefact.session import make_session
from fedtier.data.examples import Examples, Inputs
from fedtier.data.preprocessing import Pipeline
from fedtier.data.recording import Recording
from fedtier.errors import ConfigError, WireError

_OUTPUT_DIGITS = 9  # enough for any float32
_PROBABILITY_DIGITS = 6
_NUMBER_MAX = float(np.finfo(np.float32).max)


class OpenModel:
    """A model and its open graph. Any number of threads may ask it at once."""

    def __init__(self, servable: Servable, *, threads: int = 1) -> None:
        """Open it.

        Raises:
            ConfigError: If onnxruntime refuses the graph, or a transform is not known here.
        """
        self.servable = servable
        manifest = servable.manifest
        self._pipeline = Pipeline.from_json(servable.fitted, where=manifest.name)
        self._parameters = (
            {n: np.ascontiguousarray(a) for n, a in manifest.layout.unflatten(vector).items()}
            if (vector := servable.vector()).size
            else None
        )
        self._session = make_session(servable.graph, threads=threads, external=self._parameters)

    def answer(self, request: Request) -> dict[str, Any]:
        """Predict; the answer names the model it is of.

        Raises:
            WireError: If an example is not what the model takes.
        """
        x = self._inputs(request)
        outputs = [] if x is None else list(self.outputs(x))
        for number, row in enumerate(outputs):
            if not np.isfinite(row).all():  # which JSON could not say
                raise WireError(f"example {number}: the model's outputs for it are not finite")
        predictions = [self._meaning(row) for row in outputs]
        traits = list(self._pipeline.traits) if self._pipeline.names_traits else None
        return {"model": self.servable.version, "traits": traits, "predictions": predictions}

    def outputs(self, x: Inputs) -> npt.NDArray[np.float32]:
        """Outputs for every preprocessed input, shape ``(n, ...)``."""
        rows = [self._session.run(["logits"], {"x": x[i : i + 1]})[0] for i in range(len(x))]
        shape = (0, *self.servable.manifest.output_shape)
        return np.concatenate(rows) if rows else np.zeros(shape, np.float32)

    def score(self, examples: Examples) -> Score:
        """How well it does on preprocessed examples.

        Raises:
            TrainingError: If an output is not finite.
        """
        kind = self.servable.manifest.loss.kind
        return score_outputs(self.outputs(examples.x), examples.y, kind=kind)

    def _inputs(self, request: Request) -> Inputs | None:
        manifest = self.servable.manifest
        if not request.prepared:
            lacking = [trait for trait in self._pipeline.traits if trait not in request.traits]
            if lacking and request.examples:
                raise WireError(
                    f'the request lacks the trait {lacking[0]!r}: add "traits": {{"{lacking[0]}": '
                    "0}, or whatever whole number it is"
                )
        arrays = []
        for number, example in enumerate(request.examples):
            where = f"example {number}"
            given = _numbers(example, where=where)
            try:
                one = (
                    self._prepared(given)
                    if request.prepared
                    else self._recorded(given, request, where=where)
                )
            except ConfigError as error:
                raise WireError(str(error)) from None
            _check(one, manifest, where=where)
            arrays.append(one)
        return np.concatenate(arrays) if arrays else None

    def _prepared(self, given: Array) -> Inputs:
        manifest = self.servable.manifest
        if given.ndim == 1 and given.size == math.prod(manifest.input_shape):
            given = given.reshape(manifest.input_shape)
        if manifest.input_dtype == "int64" and given.dtype.kind == "f":
            return given[np.newaxis]  # and is refused
        return given[np.newaxis].astype(manifest.input_dtype)

    def _recorded(self, given: Array, request: Request, *, where: str) -> Inputs:
        """One example as a device records it, with the artefact's preprocessing."""
        if self._pipeline.window is not None:
            given = self._window(given, rows=self._pipeline.window.length, where=where)
        else:
            shape = self.servable.manifest.input_shape
            if given.ndim == 1 and given.size == math.prod(shape):
                given = given.reshape(shape)
            given = given[np.newaxis]
        unlabelled = np.zeros(len(given), np.int64)
        recording = Recording(key=where, samples=given, labels=unlabelled, traits=request.traits)
        return self._treat(recording, where=where)

    def _window(self, given: Array, *, rows: int, where: str) -> Array:
        """One window as it was recorded, shape ``(rows, channels)``; it may come flat."""
        channels = self.servable.manifest.input_shape[0] if self._pipeline.keeps_channels else None
        flat = given.ndim == 1
        size = f"{given.size} numbers" if flat else " x ".join(map(str, given.shape))
        if channels is None:  # a transform makes others of them, and says what it lacks
            if flat and given.size % rows == 0:
                return given.reshape(rows, -1)
            if flat or len(given) != rows:
                needed = f"{rows} rows of as many numbers each"
                raise WireError(f"{where} has {size}; {needed} are needed")
            return given
        if flat and given.size == rows * channels:
            return given.reshape(rows, channels)
        if given.shape != (rows, channels):
            needed = f"{rows} rows x {channels} channels"
            total = f" = {rows * channels}" if flat else ""
            raise WireError(f"{where} has {size}; {needed}{total} are needed")
        return given

    def _treat(self, recording: Recording, *, where: str) -> Inputs:
        """As device data are treated, but that numbers may come where float32 is wanted."""
        if not self._pipeline.rows and self.servable.manifest.input_dtype == "float32":
            samples = recording.samples.astype(np.float32)
            recording = replace(recording, samples=samples)
        return self._pipeline.examples([recording], where=where).x

    def _meaning(self, outputs: npt.NDArray[np.float32]) -> dict[str, Any]:
        """What one example's outputs say, by the loss that the model was trained by."""
        manifest = self.servable.manifest
        shown = _rounded(outputs.reshape(-1).tolist(), _OUTPUT_DIGITS)
        match manifest.loss.kind:
            case "cross_entropy":
                exact = outputs.astype(np.float64)
                raised = np.exp(exact - exact.max())
                label = int(outputs.argmax())
                return {
                    "label": label,
                    "name": manifest.class_name(label),
                    "probabilities": _rounded(raised / raised.sum(), _PROBABILITY_DIGITS),
                    "outputs": shown,
                }
            case "bce":
                with np.errstate(over="ignore"):
                    chances = 1.0 / (1.0 + np.exp(-outputs.astype(np.float64).reshape(-1)))
                return {"probabilities": _rounded(chances, _PROBABILITY_DIGITS), "outputs": shown}
            case _:
                return {"outputs": shown}


def _check(one: Inputs, manifest: ArtefactManifest, *, where: str) -> None:
    """Refuse what the graph does not take."""
    if one.shape != (1, *manifest.input_shape):
        raise WireError(
            f"{where} comes to inputs of shape {one.shape[1:]}; the model takes "
            f"{manifest.input_shape}"
        )
    if one.dtype != manifest.input_dtype:
        raise WireError(f"{where} comes to {one.dtype}; the model takes {manifest.input_dtype}")
    if manifest.vocabulary is not None and not 0 <= one.min() <= one.max() < manifest.vocabulary:
        raise WireError(
            f"{where} has numbers from {one.min()} to {one.max()}; the model knows 0 to "
            f"{manifest.vocabulary - 1}"
        )


def _numbers(example: object, *, where: str) -> Array:
    """An example as an array of finite numbers: of whole ones int64, else float64.

    Raises:
        WireError: If it is no such thing.
    """
    try:
        found = np.asarray(example)
    except ValueError:
        found = np.empty(0, object)
    if found.dtype.kind not in "if" or found.ndim == 0 or _has_booleans(example):
        raise WireError(f"{where} is not a list of numbers, or its rows are of several lengths")
    if not (np.abs(found) <= _NUMBER_MAX).all():
        raise WireError(f"{where} holds a number beyond {_NUMBER_MAX:.3g}, which is no float32")
    return found


def _has_booleans(example: object) -> bool:
    """Whether there are any in nested lists; among numbers numpy would take them for numbers."""
    if not isinstance(example, list):
        return False
    kinds = set(map(type, example))
    return bool in kinds or (list in kinds and any(map(_has_booleans, example)))


def _rounded(values: Iterable[float], digits: int) -> list[float]:
    return [float(f"{value:.{digits}g}") for value in values]
