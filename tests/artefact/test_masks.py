"""Masks of dropout: addressed, scaled, of the share they say."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from fedtier.artefact.masks import Mask, draw_masks
from fedtier.ids import IterationPath, NodeId

ADDRESS = {"seed": 7, "path": IterationPath.parse("r3.1"), "node": NodeId("d04"), "step": 2}

# Every device ever built must draw these.
GOLDEN = [5, 6, 8, 12, 14, 17, 19, 20, 22, 26]
GOLDEN_DIGEST = "b6b763d540b6baaf"


def drawn(mask, **address):
    return draw_masks([mask], **{**ADDRESS, **address})[mask.name]


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.7, 0.999])
def test_a_mask_keeps_its_share_and_is_one_in_the_mean(keep):
    found = drawn(Mask(name="mask0", shape=(100, 1000), keep=keep))
    assert (found.dtype, found.shape) == (np.float32, (100, 1000))
    assert set(np.unique(found).tolist()) == {0.0, float(np.float32(1.0 / keep))}
    share = np.count_nonzero(found) / found.size
    assert abs(share - keep) < 5 * np.sqrt(keep * (1 - keep) / found.size)  # five standard errors


def test_every_part_of_the_address_gives_another_mask():
    mask = Mask(name="mask0", shape=(8, 16), keep=0.5)
    others = [
        drawn(mask),
        drawn(mask, seed=8),
        drawn(mask, path=IterationPath.parse("r3.2")),
        drawn(mask, node=NodeId("d05")),
        drawn(mask, step=3),
        drawn(Mask(name="mask1", shape=(8, 16), keep=0.5)),
    ]
    assert len({other.tobytes() for other in others}) == len(others)
    assert drawn(mask).tobytes() == others[0].tobytes()


def test_a_mask_never_changes():
    found = drawn(Mask(name="mask0", shape=(4, 8), keep=0.75))
    assert np.flatnonzero(found == 0).tolist() == GOLDEN
    digest = hashlib.sha256(found.astype("<f4").tobytes()).hexdigest()
    assert digest.startswith(GOLDEN_DIGEST)
