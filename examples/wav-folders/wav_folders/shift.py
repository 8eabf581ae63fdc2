"""The augmentation `shift`: each sample moves by up to `rows` rows either way, and wraps round."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedtier.draws import uniform01


@dataclass(frozen=True)
class Shift:
    """Draws by the key it is given and by nothing else: a repeated step draws the same."""

    rows: int
    name: ClassVar[str] = "shift"

    @classmethod
    def from_fields(cls, fields):
        return cls(fields.integer("rows", low=0, high=100_000))

    def apply(self, x, key):
        moves = np.floor(uniform01(key, len(x)) * (2 * self.rows + 1)).astype(int) - self.rows
        return np.stack([np.roll(one, move, axis=-1) for one, move in zip(x, moves, strict=True)])

    def to_json(self):
        return {"name": self.name, "rows": self.rows}
