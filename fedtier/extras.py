"""What needs an extra that is not installed: one line that says which, instead of a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from fedtier.errors import ConfigError

_OURS = ("fedtier", "edge_agent", "gateway", "cloud")


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Around the import of what a command or a notebook asks for.

    Raises:
        ConfigError: If a package of the extra is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in _OURS:
            raise
        raise ConfigError(
            f"{package} is not installed. Install it with "
            f"`{sys.executable} -m pip install 'fedtier[{extra}]'`."
        ) from error


def need(package: str) -> None:
    """Look for a package that is imported later, or by another process.

    Raises:
        ModuleNotFoundError: If it is not installed; ``needs_extra`` says how to install it.
    """
    if find_spec(package) is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
