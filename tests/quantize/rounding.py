"""What many draws of a codec come to."""

from __future__ import annotations

import numpy as np

from fedtier.draws import draw_key
from fedtier.model.layout import Vector
from fedtier.quantize.codec import Codec, Encoded


def sampled(codec: Codec, delta: Vector, *, draws: int) -> tuple[Vector, float, Encoded]:
    """The mean of so many messages as decoded, their mean relative error, and one of them."""
    squares = float((delta.astype(float) ** 2).sum())
    total, error = np.zeros(delta.size), 0.0
    for index in range(draws):
        key = draw_key(seed=1, path="r0", node=f"d{index}", purpose="rounding")
        encoded = codec.encode(delta, key)
        decoded = codec.decode(encoded.sections, delta.size)
        total += decoded
        error += float(((decoded - delta.astype(float)) ** 2).sum()) / squares / draws
    return total / draws, error, encoded
