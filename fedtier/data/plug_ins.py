"""What installed packages add: sources, preprocessing and augmentation under a name of their own.

What is built in stands in tables where it is used and is found there first, so that nobody who
uses nothing else pays for a look through the installed packages.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from fedtier.errors import ConfigError
from fedtier.words import did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

SOURCES = "fedtier.data"
PREPROCESSING = "fedtier.preprocessing"
AUGMENTATION = "fedtier.augmentation"


def load_plug_in(
    name: str, *, group: str, built_in: Iterable[str], needs: Sequence[str], what: str
) -> Any:  # noqa: ANN401 (what a package offers is known by its attributes alone)
    """Load what an installed package offers under a name.

    Args:
        name: Its entry point's name.
        group: The entry points to look among: one of the constants above.
        built_in: The names that no package needs to bring, for the error.
        needs: The attributes that it must have.
        what: What to name in errors, such as ``agent.toml [data]: source 'imus'``.

    Returns:
        The module, class or object that the entry point names.

    Raises:
        ConfigError: If no package offers it, or several do, or it cannot be imported, or it lacks
            an attribute.
    """
    offered = _offered(group, tuple(sys.path))
    found = [point for point in offered if point.name == name]
    if not found:
        hint = did_you_mean(name, {*built_in, *(point.name for point in offered)})
        raise ConfigError(
            f"{what} is unknown. {hint} Correct it, or install the package that brings it."
        )
    if len(found) > 1:
        targets = " and ".join(sorted(point.value for point in found))
        raise ConfigError(
            f"{what} is offered by {targets}. Uninstall all packages but one of them."
        )
    target = found[0].value
    try:
        loaded = found[0].load()
    except (ImportError, AttributeError, SyntaxError) as error:
        raise ConfigError(
            f"{what} is {target}, which cannot be imported: {error}. Install its package anew."
        ) from error
    for attribute in needs:
        if not hasattr(loaded, attribute):
            raise ConfigError(
                f"{what} is {target}, which has no {attribute}. Install a version of its package "
                "that fits this one."
            )
    return loaded


@cache
def _offered(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """The entry points of a group; looked for once, unless the places to look change."""
    from importlib.metadata import entry_points

    return tuple(entry_points(group=group))
