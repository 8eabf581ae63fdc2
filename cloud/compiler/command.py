"""``MODULE:CLASS`` and a few options to an artefact on disk."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cloud.compiler.compile import compile_module
from fedtier.artefact.artefact import Artefact
from fedtier.errors import ConfigError

DESCRIPTION = "ARTEFACT"
"""Name of the mapping beside the class that holds ``compile_module``'s arguments and ``seed``."""

SEED_DEFAULT = 1


def compile_by_name(target: str, *, out: Path, overrides: Mapping[str, Any]) -> Artefact:
    """Import a class, make it from a seed and compile it.

    Args:
        target: ``package.module:Class``; the class takes no arguments.
        out: Directory to write.
        overrides: Arguments of ``compile_module``, and ``seed``, that replace the module's own.

    Raises:
        ConfigError: If the target cannot be imported or its description is incomplete.
    """
    factory, described = _resolve(target)
    arguments = {**described, **overrides}
    _check_names(arguments, where=target)
    # Parameters are drawn here, once; an artefact carries them and nobody draws them again.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(arguments.pop("seed", SEED_DEFAULT))
        module = factory()
    return compile_module(module, out=out, **arguments)


def _resolve(target: str) -> tuple[type[nn.Module], Mapping[str, Any]]:
    place, _, name = target.partition(":")
    try:
        found = importlib.import_module(place)
    except ImportError as error:
        raise ConfigError(f"{target}: cannot import {place!r} ({error}).") from error
    factory = getattr(found, name, None)
    if not (isinstance(factory, type) and issubclass(factory, nn.Module)):
        raise ConfigError(f"{target}: {place} has no torch module class {name!r}.")
    return factory, getattr(found, DESCRIPTION, {})


def _check_names(arguments: Mapping[str, Any], *, where: str) -> None:
    parameters = inspect.signature(compile_module).parameters
    known = {name for name in parameters if name not in ("module", "out")} | {"seed"}
    needed = {
        name for name in known & set(parameters) if parameters[name].default is inspect._empty
    }
    if set(arguments) - known:
        raise ConfigError(
            f"{where}: {sorted(set(arguments) - known)} are no options. "
            f"Known are {', '.join(sorted(known))}."
        )
    if needed - set(arguments):
        raise ConfigError(
            f"{where}: {sorted(needed - set(arguments))} are missing. Give them as options or in "
            f"a mapping {DESCRIPTION} beside the class."
        )
