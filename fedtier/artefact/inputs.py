"""Whether examples are what an artefact's graphs take; asked as a node starts, and by trainers."""

from __future__ import annotations

from fedtier.artefact.manifest import ArtefactManifest
from fedtier.data.examples import Examples
from fedtier.errors import ConfigError


def check_examples(examples: Examples, manifest: ArtefactManifest, *, where: str) -> None:
    """Refuse data that the artefact was not compiled for.

    Args:
        examples: Preprocessed inputs with their labels.
        manifest: The artefact's.
        where: What to name in errors: the file and table of the data, and which part of them.

    Raises:
        ConfigError: If there is no example, or a shape or a label differs.
    """
    if not len(examples):
        raise ConfigError(
            f"{where}: there is no example for {manifest.name}. Give recordings long enough for "
            "one window, or take the device out of the federation."
        )
    if examples.x.shape[1:] != manifest.input_shape:
        raise ConfigError(
            f"{where}: examples have shape {examples.x.shape[1:]}, the artefact {manifest.name} "
            f"takes {manifest.input_shape}. Prepare the data with the artefact's preprocessing."
        )
    low, high = int(examples.y.min()), int(examples.y.max())
    if low < 0 or high >= manifest.classes:
        raise ConfigError(
            f"{where}: labels run from {low} to {high}, the artefact {manifest.name} has classes 0 "
            f"to {manifest.classes - 1}. Map the labels, or compile with more classes."
        )
