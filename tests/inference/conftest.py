"""Where sockets have short names: the kernel takes no long ones."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fedtier-") as directory:
        yield Path(directory)
