"""From recordings to examples: named transforms with parameters, data and never code.

A pipeline is a list such as::

    [{"name": "mirror", "trait": "side", "equals": 1, "signs": [-1, 1, 1, 1, -1, -1]},
     {"name": "standardise"},
     {"name": "window", "length": 128, "stride": 32}]

Transforms act in the order written. ``standardise`` is fitted: its values come from the training
part alone and are then written into the list as ``mean`` and ``std``.

A name that is not built in is looked up, only then, among the entry points of group
``fedtier.preprocessing``, each a class as ``RowTransform`` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedtier.data.examples import Examples, Inputs, Targets
from fedtier.data.fields import Fields
from fedtier.data.plug_ins import PREPROCESSING, load_plug_in
from fedtier.data.recording import Recording
from fedtier.data.row_transforms import (
    Ids,
    Mirror,
    RowTransform,
    Scale,
    Standardise,
    Window,
    require_channels,
)
from fedtier.errors import ConfigError

_ROW_TRANSFORMS: dict[str, Callable[[Fields], RowTransform]] = {
    "ids": Ids.from_fields,
    "mirror": Mirror.from_fields,
    "scale": Scale.from_fields,
    "standardise": Standardise.from_fields,
}
_BUILT_IN = (Ids, Mirror, Scale, Standardise)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A checked list of transforms: any number of row transforms, then at most one window."""

    rows: tuple[RowTransform, ...]
    window: Window | None

    @classmethod
    def from_json(cls, transforms: Sequence[Mapping[str, object]], *, where: str) -> Pipeline:
        """Read and check a list of transforms.

        Raises:
            ConfigError: If a name, a parameter or the order cannot be.
        """
        rows: list[RowTransform] = []
        window: Window | None = None
        for index, transform in enumerate(transforms):
            fields = Fields(transform, where=f"{where}: preprocessing[{index}]")
            name = fields.text("name")
            if window is not None:
                raise fields.error("name", f"is {name!r} after 'window'. Put 'window' last.")
            if name == "window":
                window = Window.from_fields(fields)
            else:
                rows.append(_row_transform(name, fields))
            fields.finish()
        _check_order(rows, where=where)
        return cls(rows=tuple(rows), window=window)

    @property
    def traits(self) -> tuple[str, ...]:
        """The traits that every recording must have."""
        return tuple(row.trait for row in self.rows if isinstance(row, Mirror))

    @property
    def names_traits(self) -> bool:
        """Whether ``traits`` are surely all; of a package's own, who knows."""
        return all(isinstance(row, _BUILT_IN) for row in self.rows)

    @property
    def keeps_channels(self) -> bool:
        """Whether examples surely have as many channels as rows; of a package's own, who knows."""
        return all(isinstance(row, Mirror | Scale | Standardise) for row in self.rows)

    @property
    def fitted_per_device(self) -> tuple[str, ...]:
        """Names of the transforms whose values are not given: each device takes its own."""
        return tuple(
            str(row.to_json()["name"]) for row in self.rows if not getattr(row, "fitted", True)
        )

    def fit(self, training: Sequence[Recording], *, where: str) -> Pipeline:
        """The pipeline with every value taken from the training part.

        Each transform is fitted to what the ones before it make of the training part.
        """
        fitted: list[RowTransform] = []
        recordings = list(training)
        for transform in self.rows:
            ready = transform.fit(recordings, where=where)
            recordings = [ready.apply(recording, where=where) for recording in recordings]
            fitted.append(ready)
        return Pipeline(rows=tuple(fitted), window=self.window)

    def examples(self, recordings: Sequence[Recording], *, where: str) -> Examples:
        """Transform recordings with a fitted pipeline.

        Args:
            recordings: One or more, of one row shape.
            where: What to name in errors.

        Returns:
            Windows in the order of the recordings and of time; without ``window`` every row is an
            example. There may be none.

        Raises:
            ConfigError: If the recordings do not suit the transforms.
        """
        assert recordings
        pieces = [self._of_one(recording, where=where) for recording in recordings]
        x = np.concatenate([inputs for inputs, _ in pieces])
        return Examples(x=x, y=np.concatenate([labels for _, labels in pieces]))

    def to_json(self) -> list[dict[str, object]]:
        """The list of transforms, fitted values included."""
        window = [] if self.window is None else [self.window.to_json()]
        return [*(transform.to_json() for transform in self.rows), *window]

    def _of_one(self, recording: Recording, *, where: str) -> tuple[Inputs, Targets]:
        dtype = np.int64 if any(isinstance(row, Ids) for row in self.rows) else np.float32
        for transform in self.rows:
            recording = transform.apply(recording, where=where)
        if recording.samples.dtype.kind == "f" and not np.isfinite(recording.samples).all():
            raise ConfigError(
                f"{where}: recording {recording.key!r} holds NaN or infinity after preprocessing. "
                "Change the transforms, or remove those rows."
            )
        if self.window is not None:
            require_channels(recording, None, what="window", where=where)
            return self.window.cut(recording, dtype=dtype)
        if dtype == np.float32 and recording.samples.dtype.kind != "f":
            raise ConfigError(
                f"{where}: recording {recording.key!r} is {recording.samples.dtype} after "
                'preprocessing. Add {"name": "scale", "divide_by": 255} or the like, '
                'or "ids" where the numbers name something.'
            )
        return np.ascontiguousarray(recording.samples, dtype=dtype), recording.labels


def _row_transform(name: str, fields: Fields) -> RowTransform:
    """The transform of a name, with its parameters read."""
    if name in _ROW_TRANSFORMS:
        return _ROW_TRANSFORMS[name](fields)
    offered = load_plug_in(
        name,
        group=PREPROCESSING,
        built_in=(*_ROW_TRANSFORMS, "window"),
        needs=("from_fields", "fit", "apply", "to_json"),
        what=f"{fields.where}: name {name!r}",
    )
    transform: RowTransform = offered.from_fields(fields)
    return transform


def _check_order(rows: Sequence[RowTransform], *, where: str) -> None:
    fitted = [index for index, row in enumerate(rows) if isinstance(row, Standardise)]
    mirrors = [index for index, row in enumerate(rows) if isinstance(row, Mirror)]
    if len(rows) > 1 and any(isinstance(row, Ids) for row in rows):
        raise ConfigError(
            f"{where}: preprocessing has 'ids' beside transforms of measured values. Keep one or "
            "the other: numbers that name something are not computed with."
        )
    if len(fitted) > 1:
        raise ConfigError(
            f"{where}: preprocessing has 'standardise' {len(fitted)} times. Keep one."
        )
    if fitted and mirrors and max(mirrors) > fitted[0]:
        raise ConfigError(
            f"{where}: preprocessing[{max(mirrors)}] is 'mirror' after 'standardise'. Put it "
            "before: the statistics must be those of what the model sees."
        )
