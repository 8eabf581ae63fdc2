"""One step of gradient descent by parts of its batch, for a board that a whole one would exceed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedtier.artefact.open_graph import Array, OpenGraph


def accumulated_step(gradient: OpenGraph, feed: Mapping[str, Array]) -> dict[str, Array]:
    """What the training graph gives, to rounding, where a row's loss depends on that row alone.

    Args:
        gradient: An artefact's gradient graph, ``w, x, y -> loss_sum, gradient_sum``.
        feed: What the training graph takes: ``w, x, y, mu``, of a whole batch, which is a multiple
            of the gradient graph's rows.

    Returns:
        ``loss``, the mean, and ``w_next``, which is ``w - mu gradient``; sums are float32, in the
        order of the rows.
    """
    w, x, y = feed["w"], feed["x"], feed["y"]
    rows = gradient.get_inputs()[1].shape[0]
    assert len(x) % rows == 0, (len(x), rows)
    loss, total = np.float32(0), np.zeros_like(w)
    for start in range(0, len(x), rows):
        part = {"w": w, "x": x[start : start + rows], "y": y[start : start + rows]}
        loss_sum, gradient_sum = gradient.run(["loss_sum", "gradient_sum"], part)
        loss += loss_sum
        total += gradient_sum
    total *= feed["mu"] / np.float32(len(x))
    return {"loss": np.asarray(loss / len(x), np.float32), "w_next": w - total}
