"""How a model's tensors lie in one flat vector, and what names that vector.

Everything between a trainer and a mean works on the flat float32 vector ``(d,)``; names and shapes
appear only where a model is compiled, stored for others or shown.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fedtier.errors import ConfigError, UpdateError, WireError
from fedtier.limits import DIMENSION_MAX

Vector: TypeAlias = npt.NDArray[np.float32]
"""Parameters, a delta or a mean: float32, shape ``(d,)``."""

_LAYOUT_TAG = b"fedtier layout 1\0"
_NAME_CHARACTERS_MAX = 255
_RANK_MAX = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One named tensor of a model.

    Attributes:
        name: Unique in its layout, 1 to 255 printable characters.
        shape: At most 32 sizes, each at least 1; ``()`` is a single number.

    Raises:
        ConfigError: If name or shape is outside these ranges.
    """

    name: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        # A lone surrogate, which JSON can smuggle in and UTF-8 cannot say, is not printable.
        if not (1 <= len(self.name) <= _NAME_CHARACTERS_MAX and self.name.isprintable()):
            raise ConfigError(
                f"layout: a tensor is named {self.name[:40]!r}; allowed are "
                f"1 to {_NAME_CHARACTERS_MAX} printable characters"
            )
        if len(self.shape) > _RANK_MAX or min(self.shape, default=1) < 1:
            raise ConfigError(
                f"layout: tensor {self.name!r} has shape {self.shape}; allowed are at most "
                f"{_RANK_MAX} sizes, each at least 1"
            )

    @property
    def size(self) -> int:
        """How many numbers the tensor holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterLayout:
    """The tensors of a model in the order in which they fill the flat vector, each in C order.

    Attributes:
        tensors: At least one; names differ.
        dimension: d, the length of the vector, at most 2**28.
        offsets: Where each tensor begins.
        digest: SHA-256, 64 hexadecimal digits, of the tag ``fedtier layout 1`` and a zero byte,
            the number of tensors, and for each tensor the number of bytes of its name, the name
            in UTF-8, its rank (numbers of four little-endian bytes so far) and its sizes (eight).

    Raises:
        ConfigError: If there is no tensor, a name comes twice, or d is too large.
    """

    tensors: tuple[TensorSpec, ...]
    dimension: int = field(init=False, compare=False, repr=False)
    offsets: tuple[int, ...] = field(init=False, compare=False, repr=False)
    digest: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        names = [tensor.name for tensor in self.tensors]
        if not names:
            raise ConfigError("layout: there is no tensor; a model needs at least one parameter")
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"layout: two tensors are named {twice!r}; names must differ")
        *offsets, dimension = itertools.accumulate((t.size for t in self.tensors), initial=0)
        if dimension > DIMENSION_MAX:
            raise ConfigError(
                f"layout: the model has {dimension} parameters, more than the {DIMENSION_MAX} "
                "that fedtier carries"
            )
        object.__setattr__(self, "offsets", tuple(offsets))
        object.__setattr__(self, "dimension", dimension)
        object.__setattr__(self, "digest", _digest(self.tensors))

    def flatten(self, arrays: Mapping[str, npt.NDArray[np.float32]]) -> Vector:
        """Copy named tensors into one new vector.

        Raises:
            UpdateError: If a name, a shape or a type differs from the layout.
        """
        names = {tensor.name for tensor in self.tensors}
        if arrays.keys() != names:
            missing, foreign = sorted(names - arrays.keys()), sorted(arrays.keys() - names)
            raise UpdateError(
                f"tensors do not match the layout: missing {missing}, not in it {foreign}"
            )
        vector = np.empty(self.dimension, dtype=np.float32)
        for tensor, offset in zip(self.tensors, self.offsets, strict=True):
            array = arrays[tensor.name]
            if array.shape != tensor.shape or array.dtype != np.float32:
                raise UpdateError(
                    f"tensor {tensor.name!r} is {array.dtype} {array.shape}, "
                    f"the layout has float32 {tensor.shape}"
                )
            vector[offset : offset + tensor.size] = array.ravel()
        return vector

    def unflatten(self, vector: Vector) -> dict[str, npt.NDArray[np.float32]]:
        """View the parts of a contiguous vector as the named tensors; nothing is copied.

        Raises:
            UpdateError: If the vector is not float32 of shape ``(d,)``.
        """
        check_vector(vector, self.dimension)
        return {
            tensor.name: vector[offset : offset + tensor.size].reshape(tensor.shape)
            for tensor, offset in zip(self.tensors, self.offsets, strict=True)
        }

    def to_json(self) -> list[dict[str, object]]:
        """Describe the layout as data for JSON: ``[{"name": ..., "shape": [...]}, ...]``."""
        return [{"name": tensor.name, "shape": list(tensor.shape)} for tensor in self.tensors]

    @classmethod
    def from_json(cls, data: object) -> ParameterLayout:
        """Read what ``to_json`` wrote, from a file or the network.

        Raises:
            WireError: If it is anything else, or describes a layout that cannot be.
        """
        if not isinstance(data, list):
            raise WireError(f"layout is {type(data).__name__}, not a list of tensors")
        try:
            return cls(tensors=tuple(_tensor_from_json(entry) for entry in data))
        except ConfigError as error:
            raise WireError(str(error)) from error


def _tensor_from_json(entry: object) -> TensorSpec:
    match entry:
        case {"name": str(name), "shape": list(shape), **rest} if not rest:
            if all(type(size) is int for size in shape):
                return TensorSpec(name=name, shape=tuple(shape))
    raise WireError(f"layout: {str(entry)[:80]} is not like {{'name': 'w', 'shape': [3, 4]}}")


def _digest(tensors: tuple[TensorSpec, ...]) -> str:
    sha = hashlib.sha256(_LAYOUT_TAG + struct.pack("<I", len(tensors)))
    for tensor in tensors:
        name = tensor.name.encode()
        sha.update(struct.pack("<I", len(name)) + name)
        sha.update(struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape))
    return sha.hexdigest()


def check_vector(vector: Vector, dimension: int) -> None:
    """Refuse what is not a float32 vector of the model's length.

    Raises:
        UpdateError: Naming both types and shapes.
    """
    if vector.shape != (dimension,) or vector.dtype != np.float32:
        raise UpdateError(
            f"vector is {vector.dtype} {vector.shape}, the model's is float32 ({dimension},)"
        )


def model_digest(layout_digest: str, vector: Vector) -> str:
    """Name a model by its bits.

    Args:
        layout_digest: ``ParameterLayout.digest``.
        vector: The parameters, float32 ``(d,)``.

    Returns:
        SHA-256, 64 hexadecimal digits, of the 32 bytes of the layout's digest followed by the
        parameters as little-endian float32. ``-0.0`` and ``0.0`` are different bits.
    """
    sha = hashlib.sha256(bytes.fromhex(layout_digest))
    sha.update(np.ascontiguousarray(vector, dtype="<f4").view(np.uint8).data)
    return sha.hexdigest()
