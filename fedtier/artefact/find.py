"""Find an artefact by what a configuration file calls it."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

from fedtier.artefact.artefact import Artefact
from fedtier.errors import ConfigError
from fedtier.words import nearest

_SHIPPED = {"imu": ("fedtier.demo", "artefact")}
_PREFIX = "package:"


def find_artefact(name: str) -> Artefact:
    """Load an artefact.

    Args:
        name: ``package:NAME`` for one that is installed with fedtier, else a directory.

    Raises:
        ConfigError: If there is none of that name, or it does not verify.
    """
    if not name.startswith(_PREFIX):
        return Artefact.load(Path(name).expanduser())
    short = name.removeprefix(_PREFIX)
    if short not in _SHIPPED:
        shipped = [_PREFIX + known for known in sorted(_SHIPPED)]
        raise ConfigError(
            f"artefact {name!r} is not shipped.{nearest(name, shipped)} Shipped are: "
            f"{', '.join(shipped)}; or give the directory of a compiled one."
        )
    package, folder = _SHIPPED[short]
    with as_file(files(package) / folder) as directory:
        return Artefact.load(directory)
