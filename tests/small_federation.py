"""A small federation's files: a model and data of its own, so that nothing is downloaded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fedtier.artefact.artefact import Artefact
from fedtier.artefact.find import find_artefact

CLASSES = 7
EXAMPLES = 48
DEVICES = ("w-0", "w-1", "e-0", "held-out", "a", "b", "c", "d")


def bare_artefact(directory: Path) -> Artefact:
    """The demo's model without its preprocessing: it takes rows of shape (6, 128) as they are."""
    shipped = find_artefact("package:imu")
    manifest = dataclasses.replace(shipped.manifest, preprocessing=(), augmentation=())
    artefact = Artefact.verify(manifest, shipped.files, where="bare")
    artefact.write(directory)
    return artefact


def write_examples(directory: Path, device: str, *, shape: Sequence[int] = (6, 128)) -> None:
    """Noise around one pattern per class; a device's own share of classes and draws."""
    directory.mkdir(parents=True, exist_ok=True)
    patterns = np.random.default_rng(1).normal(size=(CLASSES, *shape))
    seed = int.from_bytes(hashlib.sha256(device.encode()).digest()[:4], "big")
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, size=EXAMPLES)
    x = patterns[y] + rng.normal(size=(EXAMPLES, *shape))
    np.savez(directory / f"{device}.npz", x=x.astype(np.float32), y=y)


QSGD = ({"codec": "qsgd", "levels": 7, "bucket": 128}, {"codec": "qsgd", "levels": 127})
IDENTITY = {"codec": "identity"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a small federation's file says."""

    tree: Mapping[str, Sequence[str]] = dataclasses.field(
        default_factory=lambda: {
            "cloud": ["west", "east"],
            "west": ["w-0", "w-1"],
            "east": ["e-0"],
        }
    )
    links: Sequence[Mapping[str, object]] = QSGD
    tau: Sequence[int] | str = (2, 2)  # or "auto"
    rounds: int = 2
    seed: int = 7
    part_bytes: int = 65_536
    plan: str = ""  # further lines of [plan]
    tables: str = ""  # further tables
    id: str = "small"

    def text(self, *, artefact: str, data: Path, held_out: Sequence[str] = ("held-out",)) -> str:
        """The federation file."""
        tree = "\n".join(f"{p} = {json.dumps(list(c))}" for p, c in self.tree.items())
        links = "\n".join(
            "[[link]]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in link.items())
            for link in self.links
        )
        return f"""\
[federation]
id = "{self.id}"
[tree]
{tree}
[model]
artefact = {json.dumps(artefact)}
[plan]
rounds = {self.rounds}
tau = {json.dumps(self.tau)}
seed = {self.seed}
part_bytes = {self.part_bytes}
{self.plan}
[plan.schedule]
kind = "cosine"
mu = 0.2
{links}
[data]
source = "npz-directory"
path = {json.dumps(str(data))}
[evaluation]
source = "npz-directory"
path = {json.dumps(str(data))}
devices = {json.dumps(list(held_out))}
{self.tables}
"""
