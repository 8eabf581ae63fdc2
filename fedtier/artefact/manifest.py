"""``manifest.json``: what an artefact's graphs expect, and the digest of every file of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from fedtier.artefact.loss import Loss
from fedtier.artefact.masks import Mask
from fedtier.artefact.optimiser import Optimiser
from fedtier.errors import ConfigError, WireError
from fedtier.model.layout import ParameterLayout
from fedtier.wire.plan import AUTO_LOWERING, is_lowering
from fedtier.words import nearest

FORMAT = 2
MANIFEST_FILE = "manifest.json"
TRAIN_FILE = "train.onnx"
EVALUATE_FILE = "evaluate.onnx"
GRADIENT_FILE = "gradient.onnx"  # of artefacts compiled with a microbatch
INFER_FILE = "infer.onnx"
MODEL_DATA_FILE = "model.f32"  # infer.onnx's parameters, written beside it when a model is kept
INITIAL_FILE = "initial.f32"
FILES = (EVALUATE_FILE, INFER_FILE, INITIAL_FILE, TRAIN_FILE)
LOWERINGS_MAX = 8

InputDtype = Literal["float32", "int64"]
INPUT_DTYPES: tuple[InputDtype, ...] = get_args(InputDtype)

Transform = Mapping[str, Any]
"""One named transform with its parameters, as JSON data; ``fedtier.data`` gives it a meaning."""


@dataclass(frozen=True, kw_only=True)
class ArtefactManifest:
    """Everything about a compiled model but the graphs and the numbers themselves."""

    name: str
    layout: ParameterLayout  # parameters, then running statistics
    parameters: int  # numbers of the flat vector that are trained: its first, in [1, d]
    batch: int  # rows of a training batch, fixed in the graph
    evaluate_batch: int
    input_shape: tuple[int, ...]  # of one example, without the batch axis
    input_dtype: InputDtype = "float32"
    vocabulary: int | None = None  # int64 inputs are 0 to vocabulary - 1; None of float32 ones
    labels: tuple[str, ...]  # class i is called labels[i]; of other losses, output i
    loss: Loss
    target_shape: tuple[int, ...]  # of one example; () of a class, else that of its output
    optimiser: Optimiser
    masks: tuple[Mask, ...]  # what the training graph takes for dropout, in the forward's order
    # How graphs compute convolutions and their weight gradient: a training graph for each, the
    # first for plans that name none, and for evaluation.
    lowerings: tuple[str, ...]
    microbatch: int | None = None  # rows of the gradient graph, if there is one; divides batch
    preprocessing: tuple[Transform, ...]
    augmentation: tuple[Transform, ...]
    opset: int
    producer: Mapping[str, str]  # versions of what compiled it
    files: Mapping[str, str]  # name -> SHA-256, hexadecimal

    @property
    def dimension(self) -> int:
        """Length of the flat vector, ``d``: of the parameters and the statistics behind them."""
        return self.layout.dimension

    @property
    def classes(self) -> int:
        """Number of labels."""
        return len(self.labels)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of one example: a logit for each class, or numbers of the target's shape."""
        return (self.classes,) if self.loss.of_classes else self.target_shape

    @property
    def least_loss(self) -> float:
        """See ``Loss.least``."""
        return self.loss.least(self.classes)

    def class_name(self, number: int) -> str:
        """The label of a class; its number where the model has no such class."""
        return self.labels[number] if number < self.classes else str(number)

    @property
    def lowering(self) -> str:
        """The first of the lowerings."""
        return self.lowerings[0]

    def lowering_for(self, asked: str) -> str:
        """The lowering that a plan asks for; the first where it leaves that open.

        Args:
            asked: As in a plan; with ``auto`` the choice is the device's, not the manifest's.

        Raises:
            ConfigError: If there is no graph of it.
        """
        if asked in ("", AUTO_LOWERING):
            return self.lowering
        if asked not in self.lowerings:
            raise ConfigError(
                f"lowering {asked!r} is asked for, and the artefact {self.name} has "
                f"{', '.join(self.lowerings)}.{nearest(asked, self.lowerings)} Name one of these, "
                "or compile it with that one, too."
            )
        return asked

    def train_file(self, lowering: str) -> str:
        """The name of a lowering's training graph."""
        return self._file_of(TRAIN_FILE, lowering)

    def gradient_file(self, lowering: str) -> str | None:
        """The name of its graph for part of a batch; None without a microbatch."""
        return None if self.microbatch is None else self._file_of(GRADIENT_FILE, lowering)

    def _file_of(self, name: str, lowering: str) -> str:
        assert lowering in self.lowerings, lowering
        if lowering == self.lowering:
            return name
        stem, _, ending = name.partition(".")
        return f"{stem}.{lowering}.{ending}"

    @property
    def file_names(self) -> tuple[str, ...]:
        """What its directory holds beside the manifest."""
        found = set(FILES)
        for lowering in self.lowerings:
            gradient = self.gradient_file(lowering)
            found |= {self.train_file(lowering), *([] if gradient is None else [gradient])}
        return tuple(sorted(found))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical manifest without its digest; it covers every file's digest."""
        return hashlib.sha256(_canonical(self._body())).hexdigest()

    def to_bytes(self) -> bytes:
        """The file's text: sorted keys, two spaces, one newline at the end."""
        data = {**self._body(), "digest": self.digest}
        return (json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()

    def _body(self) -> dict[str, Any]:
        parts = {} if self.microbatch is None else {"microbatch": self.microbatch}
        more = {"lowerings": list(self.lowerings)} if len(self.lowerings) > 1 else {}
        return {
            "format": FORMAT,
            "name": self.name,
            "layout": self.layout.to_json(),
            "layout_digest": self.layout.digest,
            "dimension": self.dimension,
            "parameters": self.parameters,
            "batch": self.batch,
            "evaluate_batch": self.evaluate_batch,
            **parts,
            "input": self._input(),
            "labels": list(self.labels),
            "loss": self.loss.to_json(),
            "target": {"shape": list(self.target_shape), "dtype": self.loss.target_dtype},
            "optimiser": self.optimiser.to_json(),
            "masks": [mask.to_json() for mask in self.masks],
            "lowering": self.lowering,
            **more,
            "preprocessing": [dict(step) for step in self.preprocessing],
            "augmentation": [dict(step) for step in self.augmentation],
            "opset": self.opset,
            "producer": dict(self.producer),
            "files": dict(self.files),
        }

    def _input(self) -> dict[str, Any]:
        data: dict[str, Any] = {"shape": list(self.input_shape), "dtype": self.input_dtype}
        return data if self.vocabulary is None else {**data, "vocabulary": self.vocabulary}

    @classmethod
    def parse(cls, text: bytes, *, where: str) -> ArtefactManifest:
        """Read a manifest and check it against its own digest.

        Args:
            text: The bytes of ``manifest.json``.
            where: What to name in errors, usually the file's path.

        Raises:
            ConfigError: If it is not a manifest of this format, or was changed after compiling.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"{where}: not JSON ({error}). Compile the artefact anew.") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise ConfigError(
                f"{where}: artefact format {found!r} is not {FORMAT}. "
                "Compile it with this version of fedtier."
            )
        try:
            manifest = _from_data(data)
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError, WireError) as error:
            raise ConfigError(
                f"{where}: a key is missing or malformed ({type(error).__name__}: {error}). "
                "Compile the artefact anew."
            ) from error
        if data.get("digest") != manifest.digest:
            raise ConfigError(
                f"{where}: digest is {data.get('digest')!r}, the content's is {manifest.digest}. "
                "The file was changed after it was compiled; copy or compile the artefact anew."
            )
        return manifest


def _from_data(data: Mapping[str, Any]) -> ArtefactManifest:
    microbatch = data.get("microbatch")
    if microbatch is not None and (int(microbatch) < 1 or int(data["batch"]) % int(microbatch)):
        raise ValueError(f"microbatch {microbatch} does not divide batch {data['batch']}")
    inputs = data["input"]
    if inputs["dtype"] not in INPUT_DTYPES:
        raise ValueError(f"input dtype {inputs['dtype']!r} is none of {list(INPUT_DTYPES)}")
    if (inputs["dtype"] == "int64") != ("vocabulary" in inputs):
        raise ValueError("a vocabulary comes with int64 inputs, and with these alone")
    layout, parameters = ParameterLayout.from_json(data["layout"]), int(data["parameters"])
    if not 1 <= parameters <= layout.dimension:
        raise ValueError(f"parameters = {parameters} is outside [1, {layout.dimension}]")
    manifest = ArtefactManifest(
        name=str(data["name"]),
        layout=layout,
        parameters=parameters,
        batch=int(data["batch"]),
        evaluate_batch=int(data["evaluate_batch"]),
        input_shape=tuple(int(size) for size in inputs["shape"]),
        input_dtype=inputs["dtype"],
        vocabulary=int(inputs["vocabulary"]) if "vocabulary" in inputs else None,
        labels=tuple(str(label) for label in data["labels"]),
        loss=Loss.from_json(data["loss"]),
        target_shape=tuple(int(size) for size in data["target"]["shape"]),
        optimiser=Optimiser.from_json(data["optimiser"]),
        masks=tuple(Mask.from_json(mask) for mask in data["masks"]),
        lowerings=_lowerings(data),
        microbatch=None if microbatch is None else int(microbatch),
        preprocessing=tuple(data["preprocessing"]),
        augmentation=tuple(data["augmentation"]),
        opset=int(data["opset"]),
        producer=dict(data["producer"]),
        files=dict(data["files"]),
    )
    if set(manifest.files) != set(manifest.file_names):
        raise ValueError(f"files are {sorted(manifest.files)}, not {sorted(manifest.file_names)}")
    return manifest


def _lowerings(data: Mapping[str, Any]) -> tuple[str, ...]:
    first = str(data["lowering"])
    found = tuple(str(name) for name in data.get("lowerings", [first]))
    if found[:1] != (first,) or len(set(found)) != len(found) or len(found) > LOWERINGS_MAX:
        raise ValueError(f"lowerings are {list(found)}, the first is {first!r}")
    odd = [name for name in found if not is_lowering(name) or name == AUTO_LOWERING]
    if odd:
        raise ValueError(f"lowering {odd[0]!r} is no name of one")
    return found


def _canonical(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
