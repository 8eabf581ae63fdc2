"""What a training graph takes, drawn at random: to try a step where no data are at hand."""

from __future__ import annotations

from typing import assert_never

import numpy as np

from fedtier.artefact.manifest import ArtefactManifest
from fedtier.artefact.open_graph import Array
from fedtier.data.examples import Inputs, Targets
from fedtier.model.layout import Vector


def sample_feed(
    manifest: ArtefactManifest, w: Vector, rng: np.random.Generator
) -> dict[str, Array]:
    """Everything that a training graph takes, by name.

    Args:
        manifest: Of the artefact.
        w: The model to step from, shape ``(d,)``.
        rng: Draws the batch.

    Returns:
        A step size of 0, masks that keep everything, and the optimiser at rest.
    """
    x, y = sample_batch(manifest, rng)
    masks = {mask.name: np.ones(mask.shape, np.float32) for mask in manifest.masks}
    given = {"w": w, "x": x, "y": y, "mu": np.zeros((), np.float32)}
    return {**given, **masks, **vectors_at_rest(manifest, w)}


def sample_batch(manifest: ArtefactManifest, rng: np.random.Generator) -> tuple[Inputs, Targets]:
    """A training batch: normal inputs, or any of the vocabulary, and targets of the loss."""
    shape = (manifest.batch, *manifest.input_shape)
    if manifest.vocabulary is not None:
        return rng.integers(0, manifest.vocabulary, shape), _targets(manifest, rng)
    return rng.standard_normal(shape).astype(np.float32), _targets(manifest, rng)


def _targets(manifest: ArtefactManifest, rng: np.random.Generator) -> Targets:
    shape = (manifest.batch, *manifest.target_shape)
    match manifest.loss.kind:
        case "cross_entropy":
            return rng.integers(0, manifest.classes, shape)
        case "mse":
            return rng.standard_normal(shape).astype(np.float32)
        case "bce":
            return rng.random(shape).astype(np.float32)
        case _:
            assert_never(manifest.loss.kind)


def vectors_at_rest(manifest: ArtefactManifest, w: Vector) -> dict[str, Vector]:
    """The optimiser's vectors at an iteration's start, shape ``(p,)`` each."""
    parameters = w[: manifest.parameters]
    rest = np.zeros_like(parameters)
    vectors = {"velocity": rest, "anchor": parameters, "correction": rest}
    return {name: vectors[name] for name in manifest.optimiser.inputs}
