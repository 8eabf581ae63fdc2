"""A torch module class of the user's: found, imported and made; each mistake is one sentence."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from torch import nn

from fedtier.errors import ConfigError
from fedtier.words import nearest

# What code of anybody's raises by mistake. It is not ours, so none of these is a bug of ours.
MISTAKES = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError),
    *(OSError, RuntimeError, SyntaxError, TypeError, ValueError),
)
_NOT_THE_USERS = (
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    str(Path(__file__).parent),
    "<",  # frozen or generated
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserClass:
    """A class of torch modules, and the module it stands in."""

    target: str  # as it was written
    factory: type[nn.Module]
    module: ModuleType

    def make(self) -> nn.Module:
        """An instance, made without arguments.

        Raises:
            ConfigError: If ``__init__`` needs arguments or fails.
        """
        needed = [
            name
            for name, parameter in inspect.signature(self.factory).parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        if needed:
            raise ConfigError(
                f"{self.target}: the class needs the arguments {', '.join(needed)}, and is made "
                "without any. Give each a default in __init__."
            )
        try:
            return self.factory()
        except MISTAKES as error:
            raise ConfigError(f"{self.target}: cannot be made: {told(error)}.") from error


@contextmanager
def user_class(target: str) -> Iterator[UserClass]:
    """Import a class; within the context its neighbours can be imported too.

    Args:
        target: ``path/net.py:Net``, or ``package.module:Net`` from the working directory or what
            is installed.

    Raises:
        ConfigError: If there is no such file, module or class, or its code fails.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise ConfigError(f"{target}: names no class. Write it after a colon, as in net.py:Net.")
    is_file = place.endswith(".py") or "/" in place
    directory = Path(place).resolve().parent if is_file else Path.cwd()
    before = sys.path[:]
    sys.path.insert(0, str(directory))
    try:
        spec = _spec_of_file(place, target) if is_file else _spec_of_module(place, target)
        module = _import(spec, target)
        yield UserClass(target=target, factory=_class_of(module, name, target), module=module)
    finally:
        sys.path[:] = before


def told(error: BaseException) -> str:
    """What went wrong in code of the user's own, with its line where it is known."""
    if isinstance(error, SyntaxError):
        return f"{error.filename} line {error.lineno}: {error.msg} ({type(error).__name__})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_NOT_THE_USERS)]
    at = f"{own[-1].filename} line {own[-1].lineno}: " if own else ""
    return f"{at}{str(error).rstrip('.') or 'no reason is given'} ({type(error).__name__})"


def _spec_of_file(place: str, target: str) -> ModuleSpec:
    path = Path(place)
    if not path.is_file():
        raise ConfigError(
            f"{target}: there is no file {path.absolute()}. Write a path to a file, or the name "
            "of a module, as in package.module:Net."
        )
    # A name of its own: a file json.py must not stand in for the module json.
    spec = importlib.util.spec_from_file_location(f"_compiled_{path.stem}", path.resolve())
    if spec is None:
        raise ConfigError(f"{target}: {path} is no Python file. Its name must end in .py.")
    return spec


def _spec_of_module(place: str, target: str) -> ModuleSpec:
    try:
        spec = importlib.util.find_spec(place)
    except MISTAKES as error:
        raise ConfigError(f"{target}: cannot import {place!r}: {told(error)}.") from error
    if spec is None:
        raise ConfigError(
            f"{target}: cannot import {place!r}: there is no such module in {Path.cwd()} or "
            "installed. To name a file, write its path, as in net.py:Net."
        )
    return spec


def _import(spec: ModuleSpec, target: str) -> ModuleType:
    try:
        if spec.name.startswith("_compiled_"):
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module  # as the import system does: dataclasses look there
            spec.loader.exec_module(module)
            return module
        return importlib.import_module(spec.name)
    except MISTAKES as error:
        raise ConfigError(f"{target}: cannot be imported: {told(error)}.") from error


def _class_of(module: ModuleType, name: str, target: str) -> type[nn.Module]:
    found = getattr(module, name, None)
    if isinstance(found, type) and issubclass(found, nn.Module):
        return found
    if found is not None:
        raise ConfigError(
            f"{target}: {name} is no class of torch modules. Derive it from torch.nn.Module."
        )
    classes = [
        key
        for key, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, nn.Module)
        and value.__module__ == module.__name__
    ]
    raise ConfigError(
        f"{target}: there is no torch module class {name!r}.{nearest(name, classes)} "
        f"Its classes: {', '.join(classes) or 'none'}."
    )
