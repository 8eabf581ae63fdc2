"""What dropout leaves of its inputs: masks that a device draws and the training graph takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fedtier.draws import draw_key, words
from fedtier.ids import IterationPath, NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """One place of a model where dropout acts: an input of the training graph."""

    name: str
    shape: tuple[int, ...]  # of a batch's mask; an axis of 1 drops what lies along it together
    keep: float  # probability of keeping an element, in (0, 1)

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return {"name": self.name, "shape": list(self.shape), "keep": self.keep}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Mask:
        """Read it from a manifest.

        Raises:
            KeyError, TypeError, ValueError: If it is not what ``to_json`` writes.
        """
        keep = float(data["keep"])
        if not 0.0 < keep < 1.0:
            raise ValueError(f"a mask keeps {keep!r}, which is outside (0, 1)")
        shape = tuple(int(size) for size in data["shape"])
        return cls(name=str(data["name"]), shape=shape, keep=keep)


def draw_masks(
    masks: Sequence[Mask], *, seed: int, path: IterationPath, node: NodeId, step: int
) -> dict[str, npt.NDArray[np.float32]]:
    """The masks of one local step: tensor = the mask's name, purpose ``dropout.<step>``.

    Args:
        masks: The places, as the manifest lists them.
        seed: The plan's seed, 64 bits.
        path: The iteration the step belongs to.
        node: The device.
        step: The local step within that iteration, from 0.

    Returns:
        Name -> float32 of the mask's shape: ``1 / keep`` where the element's word is below
        ``keep * 2**32``, rounded to the nearest whole number, else 0; in C order.
    """
    return {mask.name: _draw(mask, seed, path, node, step) for mask in masks}


def _draw(
    mask: Mask, seed: int, path: IterationPath, node: NodeId, step: int
) -> npt.NDArray[np.float32]:
    key = draw_key(
        seed=seed, path=str(path), node=node, tensor=mask.name, purpose=f"dropout.{step}"
    )
    kept = words(key, math.prod(mask.shape)) < np.uint64(round(mask.keep * 2**32))
    return (kept * np.float32(1.0 / mask.keep)).astype(np.float32).reshape(mask.shape)
