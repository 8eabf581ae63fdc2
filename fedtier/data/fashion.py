"""The source ``fashion-mnist``: Debian's package of 70,000 small grey images in ten classes."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from fedtier.data.examples import Labels
from fedtier.data.fields import Fields
from fedtier.data.partition import partition_from_fields
from fedtier.data.recording import Recording
from fedtier.errors import ConfigError

DIRECTORY = "/usr/share/datasets/fashion-mnist"
INSTALL = "sudo apt-get install dataset-fashion-mnist"
_CHUNK_IMAGES = 2000
_IMAGES_MAGIC = 0x00000803
_LABELS_MAGIC = 0x00000801


def device_recordings(
    spec: Mapping[str, object], *, node: str, where: str
) -> tuple[Recording, ...]:
    """One device's share of the 60,000 training images, as one recording in the set's order.

    Keys: ``index`` (which device's share, from 0) and those of a partition (``partition.py``);
    ``path`` names another directory.

    Raises:
        ConfigError: If the files are missing or damaged, or the partition cannot be made.
    """
    fields = Fields(spec, where=where)
    directory = _directory(fields)
    labels = _labels(directory / "train-labels-idx1-ubyte.gz", where=where)
    shares = partition_from_fields(fields, labels)
    index = fields.integer("index", low=0, high=len(shares) - 1)
    fields.finish()
    chosen = shares[index]
    images = _images(directory / "train-images-idx3-ubyte.gz", chosen, where=where)
    return (Recording(key="train", samples=images, labels=labels[chosen]),)


def held_out_recordings(
    spec: Mapping[str, object], *, where: str
) -> tuple[tuple[str, tuple[Recording, ...]], ...]:
    """The 10,000 test images as the one group ``test``; ``first`` takes only so many.

    Raises:
        ConfigError: If the files are missing or damaged.
    """
    fields = Fields(spec, where=where)
    directory = _directory(fields)
    labels = _labels(directory / "t10k-labels-idx1-ubyte.gz", where=where)
    first = fields.integer("first", low=1, high=len(labels), default=len(labels))
    fields.finish()
    chosen = np.arange(first)
    images = _images(directory / "t10k-images-idx3-ubyte.gz", chosen, where=where)
    return (("test", (Recording(key="test", samples=images, labels=labels[:first]),)),)


def _directory(fields: Fields) -> Path:
    directory = fields.path("path", default=DIRECTORY)
    if not directory.is_dir():
        raise fields.error("path", f"{str(directory)!r} does not exist. Install it: {INSTALL}")
    return directory


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
