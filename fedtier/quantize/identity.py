"""The codec that changes nothing: the oracle of the others, and the top of a generous link."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedtier.draws import DrawKey
from fedtier.errors import UpdateError
from fedtier.model.layout import Vector
from fedtier.quantize.codec import Encoded, check_delta, check_section_lengths
from fedtier.quantize.norm import sum_of_squares


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Send float32 as it is: one section, the coordinates little-endian, 4 bytes each."""

    name: ClassVar[str] = "identity"

    @property
    def text(self) -> str:
        """``identity``."""
        return self.name

    def encode(self, delta: Vector, key: DrawKey) -> Encoded:
        """Write a delta; see ``Codec.encode``. No draw is used."""
        check_delta(delta)
        squares = sum_of_squares(delta)
        if not math.isfinite(squares):
            raise UpdateError("identity: the delta holds NaN or infinity")
        return Encoded(sections=(delta.astype("<f4").tobytes(),), q=0.0, norm=math.sqrt(squares))

    def decode(self, sections: Sequence[bytes | memoryview], dimension: int) -> Vector:
        """Read a delta; see ``Codec.decode``."""
        check_section_lengths(sections, [4 * dimension], codec=self.text)
        delta = np.frombuffer(sections[0], dtype="<f4").astype(np.float32)
        if not math.isfinite(sum_of_squares(delta)):
            raise UpdateError("identity: the delta holds NaN or infinity")
        return delta

    def payload_bytes(self, dimension: int) -> int:
        """Give ``4 d``."""
        return 4 * dimension

    def payload_bytes_max(self, dimension: int) -> int:
        """The same: every message is as long."""
        return self.payload_bytes(dimension)

    def q_bound(self, dimension: int) -> float:
        """Give 0: nothing is lost."""
        return 0.0
