"""A compiled model as a directory of files that verify: what devices train and predict with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedtier.artefact.manifest import (
    EVALUATE_FILE,
    INFER_FILE,
    INITIAL_FILE,
    MANIFEST_FILE,
    MODEL_DATA_FILE,
    ArtefactManifest,
)
from fedtier.errors import ConfigError
from fedtier.model.layout import ParameterLayout, Vector
from fedtier.storage.durable import write_durably

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Artefact:
    """Verified bytes of one artefact; sessions are made from them, never from the disk again."""

    manifest: ArtefactManifest
    # The manifest's files, each matching its digest; the initial parameters may be missing.
    files: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def load(cls, directory: Path) -> Artefact:
        """Read an artefact and verify every file of it.

        Raises:
            ConfigError: If a file is missing, unreadable, or not what the manifest says.
        """
        path = directory / MANIFEST_FILE
        manifest = ArtefactManifest.parse(_read(path), where=str(path))
        files = {name: _read(directory / name) for name in sorted(manifest.files)}
        return cls.verify(manifest, files, where=str(directory))

    @classmethod
    def verify(
        cls,
        manifest: ArtefactManifest,
        files: Mapping[str, bytes],
        *,
        where: str,
        initial: bool = True,
    ) -> Artefact:
        """Make an artefact of bytes already at hand, checking them as ``load`` does.

        Args:
            manifest: What the files are to be.
            files: File name -> content.
            where: What to name in errors.
            initial: Whether the initial parameters are among them; only a cloud needs them.

        Raises:
            ConfigError: If a file is missing, or not what the manifest says.
        """
        wanted = {n: d for n, d in sorted(manifest.files.items()) if initial or n != INITIAL_FILE}
        for name, expected in wanted.items():
            if name not in files:
                raise ConfigError(f"{where}: {name} is missing. Copy the artefact anew.")
            found = hashlib.sha256(files[name]).hexdigest()
            if found != expected:
                raise ConfigError(
                    f"{where}: {name} has SHA-256 {found}, the manifest says {expected}. "
                    "The file is damaged or of another artefact; copy the artefact anew."
                )
        initial_bytes = len(files[INITIAL_FILE]) if initial else 4 * manifest.dimension
        if initial_bytes != 4 * manifest.dimension:
            raise ConfigError(
                f"{where}: {INITIAL_FILE} has {initial_bytes} bytes, the layout asks for "
                f"{4 * manifest.dimension}. Compile the artefact anew."
            )
        return cls(manifest=manifest, files={name: files[name] for name in wanted})

    @property
    def layout(self) -> ParameterLayout:
        """Names and shapes of the parameters, then of running statistics: the flat vector."""
        return self.manifest.layout

    @property
    def digest(self) -> str:
        """The manifest's digest, which covers every file."""
        return self.manifest.digest

    def initial(self) -> Vector:
        """The parameters a federation starts from, shape ``(d,)``; a fresh copy."""
        return np.frombuffer(self.files[INITIAL_FILE], "<f4").astype(np.float32)

    def train_session(
        self, lowering: str = "", *, threads: int = 1
    ) -> onnxruntime.InferenceSession:
        """Open the training step, bit-exact with one thread: ``w, x, y, mu -> loss, w_next``.

        The manifest's masks and its optimiser's vectors are inputs, too; with momentum
        ``velocity_next`` is an output.

        Args:
            lowering: As a plan names it; the first by default.
            threads: See ``make_session``.

        Raises:
            ConfigError: If there is no such lowering, or onnxruntime refuses the graph.
        """
        from fedtier.artefact.session import make_session  # onnxruntime, which verifying needs not

        return make_session(self._graph(self.manifest.train_file, lowering), threads=threads)

    def gradient_session(self, lowering: str = "") -> onnxruntime.InferenceSession:
        """Open the gradient of part of a batch: ``w, x, y -> loss_sum, gradient_sum``."""
        from fedtier.artefact.session import make_session

        return make_session(self._graph(self.manifest.gradient_file, lowering))

    def _graph(self, named: Callable[[str], str | None], lowering: str) -> bytes:
        name = named(self.manifest.lowering_for(lowering))
        assert name is not None, "this artefact was compiled without a microbatch"
        return self.files[name]

    def evaluate_session(self) -> onnxruntime.InferenceSession:
        """Open the evaluation graph: ``w, x -> logits``."""
        from fedtier.artefact.session import make_session

        return make_session(self.files[EVALUATE_FILE])

    def contents(self) -> dict[str, bytes]:
        """Every file of its directory, the manifest last."""
        return {**self.files, MANIFEST_FILE: self.manifest.to_bytes()}

    def write(self, directory: Path) -> None:
        """Write the artefact's files into a directory, which is made if need be.

        Raises:
            StorageError: If the disk does not take them.
        """
        for name, content in self.contents().items():
            write_durably(directory / name, content)

    def inference_files(self, model: Vector, *, graph_name: str = INFER_FILE) -> dict[str, bytes]:
        """The two files that predict by themselves: the graph and, beside it, the parameters.

        Args:
            model: Flat vector, shape ``(d,)``.
            graph_name: What to call the graph; the parameters' name is fixed inside it.

        Returns:
            File name -> content. Any ONNX runtime can open the graph from their directory.
        """
        assert model.shape == (self.manifest.dimension,), model.shape
        return {graph_name: self.files[INFER_FILE], MODEL_DATA_FILE: model.astype("<f4").tobytes()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}). "
            "An artefact is a directory with manifest.json and the files it lists; "
            "`fedtier compile` writes it."
        ) from error
