"""Whether data are what an artefact's graphs take; asked as a node starts, and by trainers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from fedtier.artefact.manifest import ArtefactManifest
from fedtier.data.examples import Examples, Inputs, Targets
from fedtier.errors import ConfigError


def check_examples(examples: Examples, manifest: ArtefactManifest, *, where: str) -> None:
    """Refuse data that the artefact was not compiled for.

    Args:
        examples: Preprocessed inputs with their targets.
        manifest: The artefact's.
        where: What to name in errors: the file and table of the data, and which part of them.

    Raises:
        ConfigError: If there is no example, or a shape, a type or a range differs.
    """
    if not len(examples):
        raise ConfigError(
            f"{where}: there is no example for {manifest.name}. Give recordings long enough for "
            "one window, or take the device out of the federation."
        )
    _check_inputs(examples.x, manifest, where=where)
    _check_targets(examples.y, manifest, where=where)


def _check_inputs(x: Inputs, manifest: ArtefactManifest, *, where: str) -> None:
    if x.shape[1:] != manifest.input_shape:
        raise ConfigError(
            f"{where}: examples have shape {x.shape[1:]}, the artefact {manifest.name} "
            f"takes {manifest.input_shape}. Make channels and window agree, and compile it anew."
        )
    if x.dtype != manifest.input_dtype:
        raise ConfigError(
            f"{where}: examples are {x.dtype}, the artefact {manifest.name} takes "
            f"{manifest.input_dtype}. Compile it with the preprocessing that gives these."
        )
    if manifest.vocabulary is not None:
        low, high = int(x.min()), int(x.max())
        if low < 0 or high >= manifest.vocabulary:
            raise ConfigError(
                f"{where}: inputs run from {low} to {high}, the artefact {manifest.name} knows "
                f"0 to {manifest.vocabulary - 1}. Number them so, or compile with a larger one."
            )


def _check_targets(y: Targets, manifest: ArtefactManifest, *, where: str) -> None:
    loss = manifest.loss
    if y.dtype != loss.target_dtype or y.shape[1:] != manifest.target_shape:
        found = "classes" if y.dtype.kind == "i" else f"numbers of shape {y.shape[1:]}"
        wanted = "classes" if loss.of_classes else f"numbers of shape {manifest.target_shape}"
        raise ConfigError(
            f"{where}: targets are {found}, the artefact {manifest.name} is trained by "
            f"{loss.kind} on {wanted}. Give y so, or compile with another loss."
        )
    low, high = y.min(), y.max()
    if loss.of_classes and (low < 0 or high >= manifest.classes):
        raise ConfigError(
            f"{where}: labels run from {low} to {high}, the artefact {manifest.name} has classes 0 "
            f"to {manifest.classes - 1}. Map the labels, or compile with more classes."
        )
    if loss.kind == "bce" and (low < 0 or high > 1):
        raise ConfigError(
            f"{where}: targets run from {low:g} to {high:g}, the artefact {manifest.name} is "
            "trained by bce on numbers from 0 to 1. Scale them, or compile with the loss mse."
        )


def check_labels(spec: Mapping[str, object], manifest: ArtefactManifest, *, where: str) -> None:
    """Refuse a data table that names the classes otherwise than the artefact does.

    Nodes exchange numbers of classes alone: in another order they would mean something else.

    Args:
        spec: A data table of any source; without ``labels`` there is nothing to compare.
        manifest: The artefact's.
        where: What to name in errors: the file and table.

    Raises:
        ConfigError: If ``labels`` is a list, and not the artefact's in the artefact's order; or the
            artefact is not trained on classes.
    """
    labels = spec.get("labels")
    if labels is not None and not manifest.loss.of_classes:
        raise ConfigError(
            f"{where}: labels name classes, and the artefact {manifest.name} is trained by "
            f"{manifest.loss.kind} on numbers. Give data whose targets are numbers, or compile "
            "with the loss cross_entropy."
        )
    if isinstance(labels, list | tuple) and list(labels) != list(manifest.labels):
        raise ConfigError(
            f"{where}: labels = {_listed(labels)}, the artefact {manifest.name} has the classes "
            f"{_listed(manifest.labels)}. Write them as the artefact does, in its order; other "
            "classes take an artefact compiled for them."
        )


def _listed(labels: Sequence[object]) -> str:
    return json.dumps(list(labels), ensure_ascii=False, default=str)
