"""A node's data, loaded and treated as an artefact asks, and refused where it cannot use them."""

from __future__ import annotations

from collections.abc import Mapping

from fedtier.artefact.inputs import check_examples, check_labels
from fedtier.artefact.manifest import ArtefactManifest
from fedtier.data.examples import DeviceData, HeldOut
from fedtier.data.load import load_device, load_held_out


def prepare_device(
    spec: Mapping[str, object], manifest: ArtefactManifest, *, node: str, where: str
) -> DeviceData:
    """What one device trains on and what it keeps back, as an artefact takes it.

    Args:
        spec: The device's data table.
        manifest: The artefact's.
        node: The device's id.
        where: What to name in errors: the file and table.

    Raises:
        ConfigError: If the data are missing, damaged or too few, or not what the artefact takes.
    """
    check_labels(spec, manifest, where=where)
    data = load_device(spec, manifest.preprocessing, node=node, where=where)
    for part, examples in (("training part", data.train), ("hold-out", data.holdout)):
        check_examples(examples, manifest, where=f"{where}: the {part}")
    return data


def prepare_held_out(
    spec: Mapping[str, object], manifest: ArtefactManifest, *, where: str
) -> HeldOut:
    """What the cloud evaluates on, as an artefact takes it.

    Args:
        spec: The table ``[evaluation]``.
        manifest: The artefact's.
        where: What to name in errors: the file and table.

    Raises:
        ConfigError: As ``prepare_device``.
    """
    check_labels(spec, manifest, where=where)
    held_out = load_held_out(spec, manifest.preprocessing, where=where)
    for name, examples in held_out.groups:
        check_examples(examples, manifest, where=f"{where}: group {name!r}")
    return held_out
