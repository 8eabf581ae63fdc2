"""All that predicting with one model takes: it travels to the serving process, and lies on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedtier.artefact.artefact import Artefact
from fedtier.artefact.manifest import INFER_FILE, ArtefactManifest
from fedtier.artefact.open_graph import Array
from fedtier.config.inference import Precision
from fedtier.data.examples import DeviceData
from fedtier.ids import RunId, hex64
from fedtier.model.layout import Vector
from fedtier.wire.head import Head


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Servable:
    """A global model with the artefact it belongs to, and the preprocessing as it is fitted here.

    Attributes:
        run: The run it is of.
        round: It opens this round, and is what the rounds before made.
        model: Its digest.
        precision: Of its weights.
        manifest: The artefact's.
        fitted: The preprocessing with the values fitted to this device's training part.
        graph: Serialised; takes ``x``, one example.
        parameters: The flat vector, little-endian float32; empty where the graph has its own.
    """

    run: RunId
    round: int
    model: str
    precision: Precision
    manifest: ArtefactManifest
    fitted: tuple[Mapping[str, Any], ...]
    graph: bytes = field(repr=False)
    parameters: bytes = field(repr=False)

    @classmethod
    def of(cls, head: Head, model: Vector, artefact: Artefact, data: DeviceData) -> Servable:
        """What a head's model comes to on this device, in float32.

        Args:
            head: It opens a round.
            model: Its model, shape ``(d,)``.
            artefact: The one the head names.
            data: This device's.
        """
        assert head.path.opens_round, "models in the middle of a round are not global"
        return cls(
            run=head.run,
            round=head.path.round,
            model=head.model,
            precision="float32",
            manifest=artefact.manifest,
            fitted=data.fitted,
            graph=artefact.files[INFER_FILE],
            parameters=model.astype("<f4").tobytes(),
        )

    @property
    def version(self) -> dict[str, str | int]:
        """As every answer names it."""
        return {
            "run": hex64(self.run), "round": self.round, "digest": self.model,
            "precision": self.precision,
        }  # fmt: skip

    def to_record(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """A JSON document and named bytes."""
        document = {
            "run": self.run, "round": self.round, "model": self.model,
            "precision": self.precision, "fitted": [dict(step) for step in self.fitted],
        }  # fmt: skip
        return document, {
            "manifest": self.manifest.to_bytes(), "graph": self.graph,
            "parameters": self.parameters,
        }  # fmt: skip

    @classmethod
    def from_record(
        cls, document: Mapping[str, Any], arrays: Mapping[str, bytes | Array]
    ) -> Servable:
        """What ``to_record`` wrote, also where the bytes have become arrays on their way.

        Raises:
            ConfigError: If the manifest is of another format than this version reads.
        """
        content = {name: bytes(array) for name, array in arrays.items()}
        return cls(
            run=RunId(document["run"]),
            round=document["round"],
            model=document["model"],
            precision=document["precision"],
            manifest=ArtefactManifest.parse(content["manifest"], where="the served model"),
            fitted=tuple(document["fitted"]),
            graph=content["graph"],
            parameters=content["parameters"],
        )

    def vector(self) -> Vector:
        """The parameters, shape ``(d,)``; of a graph that has its own, ``(0,)``."""
        return np.frombuffer(self.parameters, "<f4").astype(np.float32)
