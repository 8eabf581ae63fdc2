"""Small random changes to a batch at step time, addressed and never sequenced.

An augmentation is a list such as::

    [{"name": "gain", "std": 0.10},
     {"name": "rotation", "std_rad": 0.15, "triples": [[0, 1, 2], [3, 4, 5]]},
     {"name": "time_scale", "std": 0.10},
     {"name": "noise", "std": 0.05}]

Transforms act in the order written. Each draws with a key of its own, sample after sample, so a
batch comes out the same to the bit whenever it is drawn again. N(0, s) stands for ``s`` times a
draw from ``normal_table.py``.

A name that is not built in is looked up, only then, among the entry points of group
``fedtier.augmentation``, each a class as ``BatchTransform`` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedtier.data.batch_transforms import BatchTransform, Gain, Noise, Rotation, TimeScale
from fedtier.data.examples import Inputs
from fedtier.data.fields import Fields
from fedtier.data.plug_ins import AUGMENTATION, load_plug_in
from fedtier.draws import DrawKey, draw_key
from fedtier.errors import ConfigError
from fedtier.ids import IterationPath, NodeId

KeyOf = Callable[[str], DrawKey]
"""From the address of a transform, such as ``"1.rotation"``, to the key of its draws."""


def step_keys(*, seed: int, path: IterationPath, node: NodeId, step: int) -> KeyOf:
    """The keys of one local step's draws: tensor = the transform, purpose ``augment.<step>``.

    Args:
        seed: The plan's seed, 64 bits.
        path: The iteration the step belongs to.
        node: The device.
        step: The local step within that iteration, from 0.
    """
    place, purpose = str(path), f"augment.{step}"
    return lambda transform: draw_key(
        seed=seed, path=place, node=node, tensor=transform, purpose=purpose
    )


_BATCH_TRANSFORMS: dict[str, Callable[[Fields], BatchTransform]] = {
    "gain": Gain.from_fields,
    "rotation": Rotation.from_fields,
    "time_scale": TimeScale.from_fields,
    "noise": Noise.from_fields,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """A checked list of random changes; the empty list leaves a batch as it is."""

    transforms: tuple[BatchTransform, ...]

    @classmethod
    def from_json(cls, transforms: Sequence[Mapping[str, object]], *, where: str) -> Augmentation:
        """Read and check a list of transforms.

        Raises:
            ConfigError: If a name or a parameter cannot be.
        """
        found: list[BatchTransform] = []
        for index, transform in enumerate(transforms):
            fields = Fields(transform, where=f"{where}: augmentation[{index}]")
            found.append(_batch_transform(fields.text("name"), fields))
            fields.finish()
        return cls(transforms=tuple(found))

    def apply(self, x: Inputs, key_of: KeyOf) -> Inputs:
        """Change a batch at random.

        Args:
            x: The batch, shape ``(batch, ...)``, float32, or int64 where there is no transform;
                left as it is.
            key_of: The keys of this local step, from ``step_keys``.

        Returns:
            A new array, C-contiguous, of the same shape and type.

        Raises:
            ConfigError: If a transform does not suit the shape of the batch, or makes something
                else than a batch of it.
        """
        if not self.transforms:
            return np.array(x, order="C")
        batch = np.array(x, dtype=np.float32, order="C")
        for index, transform in enumerate(self.transforms):
            batch = transform.apply(batch, key_of(f"{index}.{transform.name}"))
            if batch.shape != x.shape or batch.dtype != np.float32:
                raise ConfigError(
                    f"augmentation {transform.name!r} made {batch.dtype} of shape {batch.shape} of "
                    f"a float32 batch of shape {x.shape}. It must keep both."
                )
        return np.ascontiguousarray(batch)

    def to_json(self) -> list[dict[str, object]]:
        """The list of transforms."""
        return [transform.to_json() for transform in self.transforms]


def _batch_transform(name: str, fields: Fields) -> BatchTransform:
    """The transform of a name, with its parameters read."""
    if name in _BATCH_TRANSFORMS:
        return _BATCH_TRANSFORMS[name](fields)
    offered = load_plug_in(
        name,
        group=AUGMENTATION,
        built_in=_BATCH_TRANSFORMS,
        needs=("name", "from_fields", "apply", "to_json"),
        what=f"{fields.where}: name {name!r}",
    )
    transform: BatchTransform = offered.from_fields(fields)
    return transform
