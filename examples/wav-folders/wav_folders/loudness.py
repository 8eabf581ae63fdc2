"""The preprocessing `loudness`: a row for every `rows` samples, their root mean square."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Loudness:
    """How loud each channel was; samples beyond the last whole row are left out."""

    rows: int

    @classmethod
    def from_fields(cls, fields):
        return cls(fields.integer("rows", low=1, high=100_000))

    def fit(self, training, *, where):
        return self  # nothing of it comes from the data

    def apply(self, recording, *, where):
        whole = len(recording) - len(recording) % self.rows
        power = np.square(recording.samples[:whole], dtype=np.float64)
        loud = np.sqrt(power.reshape(-1, self.rows, power.shape[1]).mean(axis=1))
        labels = recording.labels[: whole : self.rows]
        return replace(recording, samples=loud.astype(np.float32), labels=labels)

    def to_json(self):
        return {"name": "loudness", "rows": self.rows}
