"""Which examples make up each batch: by address, never by what came before.

A device that starts an iteration again, after a crash or elsewhere, draws the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from fedtier.draws import draw_key, permutation
from fedtier.ids import IterationPath, NodeId


def batch_indices(
    count: int, *, batch: int, seed: int, path: IterationPath, node: NodeId
) -> Iterator[npt.NDArray[np.int64]]:
    """The batches of one iteration, without end.

    Pass ``p`` shuffles the examples with the key (seed, path, node, tensor ``str(p)``, purpose
    ``"batch"``) and deals out consecutive runs of ``batch``; what remains at its end is left for
    the next iteration's shuffle. With fewer examples than ``batch`` each pass gives one batch that
    wraps around.

    Args:
        count: Examples there are, >= 1.
        batch: Examples in a batch, >= 1.
        seed: The plan's seed, 64 bits.
        path: The iteration, at the length of the device's cell.
        node: The device.

    Yields:
        Indices, int64, shape ``(batch,)``, each in ``[0, count)``.
    """
    assert count >= 1, count
    assert batch >= 1, batch
    number = 0
    while True:
        key = draw_key(seed=seed, path=str(path), node=node, tensor=str(number), purpose="batch")
        order = permutation(key, count)
        if count < batch:
            yield np.resize(order, batch)
        for start in range(0, count - batch + 1, batch):
            yield order[start : start + batch]
        number += 1
