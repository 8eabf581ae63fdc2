"""Opening an ``.npz`` that somebody else wrote: whatever is wrong with it is one error."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

from fedtier.errors import ConfigError


@contextmanager
def open_npz(path: Path, *, where: str, otherwise: str) -> Iterator[NpzFile]:
    """Open the file and read arrays from it; no pickle is read.

    Args:
        path: The file.
        where: What to name in errors.
        otherwise: What is wrong when it cannot be read, and what to do.

    Raises:
        ConfigError: If the file, or an array of it that is asked for, is missing or damaged.
    """
    try:
        with path.open("rb") as opened:
            file = np.load(opened, allow_pickle=False)
            if not isinstance(file, NpzFile):
                raise ValueError("a single array, not named ones")
            with file:
                yield file
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"{where}: {path} cannot be read ({error}). {otherwise}") from error
