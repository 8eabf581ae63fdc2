"""The source ``fashion-mnist``: Debian's package of 70,000 small grey images in ten classes."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from fedtier.data.examples import Labels
from fedtier.data.fields import Fields
from fedtier.data.partition import Partition
from fedtier.data.recording import Recording
from fedtier.data.selection import Selection
from fedtier.errors import ConfigError

DIRECTORY = "/usr/share/datasets/fashion-mnist"
INSTALL = "sudo apt-get install dataset-fashion-mnist"
COMMON_KEYS = ("path",)
IMAGES_MAX = 10_000_000
_CHUNK_IMAGES = 2000
_IMAGES_MAGIC = 0x00000803
_LABELS_MAGIC = 0x00000801


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    directory: Path
    partition: Partition
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Test:
    directory: Path
    first: int | None  # None = all


def device_selection(spec: Mapping[str, object], *, node: str, where: str) -> Selection:
    """One device's share of the training images.

    Keys: ``index`` (which device's share, from 0) and those of a partition (``partition.py``);
    ``path`` names another directory.

    Raises:
        ConfigError: If a key is unknown or missing, or a value cannot be.
    """
    share = _device_table(spec, where=where)
    return _selection(share.directory, origin=f"train/{share.index}", key="index")


def held_out_selection(spec: Mapping[str, object], *, where: str) -> Selection:
    """The test images, on which no device trains; ``first`` takes only so many.

    Raises:
        ConfigError: If a key is unknown, or a value cannot be.
    """
    return _selection(_held_out_table(spec, where=where).directory, origin="test", key="first")


def device_recordings(
    spec: Mapping[str, object], *, node: str, where: str
) -> tuple[Recording, ...]:
    """One device's share of the 60,000 training images, as one recording in the set's order.

    Raises:
        ConfigError: As ``device_selection``; if the files are missing or damaged, or the partition
            cannot be made.
    """
    share = _device_table(spec, where=where)
    _require(share.directory, where=where)
    labels = _labels(share.directory / "train-labels-idx1-ubyte.gz", where=where)
    chosen = share.partition.of(labels, where=where)[share.index]
    images = _images(share.directory / "train-images-idx3-ubyte.gz", chosen, where=where)
    return (Recording(key="train", samples=images, labels=labels[chosen]),)


def held_out_recordings(
    spec: Mapping[str, object], *, where: str
) -> tuple[tuple[str, tuple[Recording, ...]], ...]:
    """The 10,000 test images, or the first of them, as the one group ``test``.

    Raises:
        ConfigError: As ``held_out_selection``; if the files are missing or damaged, or are fewer.
    """
    test = _held_out_table(spec, where=where)
    _require(test.directory, where=where)
    labels = _labels(test.directory / "t10k-labels-idx1-ubyte.gz", where=where)
    first = len(labels) if test.first is None else test.first
    if first > len(labels):
        raise ConfigError(
            f"{where}: first is {first}, and {test.directory} has {len(labels)} test images. "
            "Lower it, or leave it out to take all."
        )
    chosen = np.arange(first)
    images = _images(test.directory / "t10k-images-idx3-ubyte.gz", chosen, where=where)
    return (("test", (Recording(key="test", samples=images, labels=labels[:first]),)),)


def _device_table(spec: Mapping[str, object], *, where: str) -> _Share:
    fields = Fields(spec, where=where)
    directory = fields.path("path", default=DIRECTORY)
    partition = Partition.from_fields(fields)
    index = fields.integer("index", low=0, high=partition.devices - 1)
    fields.finish()
    return _Share(directory=directory, partition=partition, index=index)


def _held_out_table(spec: Mapping[str, object], *, where: str) -> _Test:
    fields = Fields(spec, where=where)
    directory = fields.path("path", default=DIRECTORY)
    first = fields.integer("first", low=1, high=IMAGES_MAX) if fields.has("first") else None
    fields.finish()
    return _Test(directory=directory, first=first)


def _selection(directory: Path, *, origin: str, key: str) -> Selection:
    return Selection(origins=(origin,), paths=(directory,), traits=frozenset(), key=key)


def _require(directory: Path, *, where: str) -> None:
    if not directory.is_dir():
        raise ConfigError(f"{where}: path {str(directory)!r} does not exist. Install it: {INSTALL}")


def _labels(path: Path, *, where: str) -> Labels:
    try:
        with gzip.open(path) as file:
            (count,) = _header(file, _LABELS_MAGIC, numbers=1)
            body = file.read(count)
            if len(body) != count:
                raise ValueError(f"{len(body)} labels of {count}")
            return np.frombuffer(body, dtype=np.uint8).astype(np.int64)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise _damaged(path, error, where=where) from error


def _images(path: Path, chosen: npt.NDArray[np.int64], *, where: str) -> npt.NDArray[np.uint8]:
    """The chosen images (ascending indices), uint8 ``(n, 1, height, width)``.

    The file is read in pieces: a device keeps its own share in memory and never the whole set.
    """
    try:
        with gzip.open(path) as file:
            count, height, width = _header(file, _IMAGES_MAGIC, numbers=3)
            kept = [
                piece[chosen[(chosen >= start) & (chosen < start + len(piece))] - start]
                for start, piece in _pieces(file, count, height * width)
            ]
            return np.concatenate(kept).reshape(-1, 1, height, width)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise _damaged(path, error, where=where) from error


def _pieces(
    file: BinaryIO | gzip.GzipFile, count: int, image_bytes: int
) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    for start in range(0, count, _CHUNK_IMAGES):
        size = min(_CHUNK_IMAGES, count - start)
        body = file.read(size * image_bytes)
        if len(body) != size * image_bytes:
            raise ValueError(f"ends after {start + len(body) // image_bytes} images of {count}")
        yield start, np.frombuffer(body, dtype=np.uint8).reshape(size, image_bytes)


def _header(file: BinaryIO | gzip.GzipFile, magic: int, *, numbers: int) -> tuple[int, ...]:
    """The big-endian header of an idx file: magic, then the size of each dimension."""
    words = np.frombuffer(file.read(4 * (1 + numbers)), dtype=">u4")
    if len(words) != 1 + numbers or int(words[0]) != magic:
        raise ValueError("not an idx file of bytes")
    return tuple(int(word) for word in words[1:])


def _damaged(path: Path, error: Exception, *, where: str) -> ConfigError:
    return ConfigError(f"{where}: {path} cannot be read ({error}). Install it again: {INSTALL}")
