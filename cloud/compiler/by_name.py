"""A class by its name and a few options, to an artefact on disk."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cloud.compiler.compile import EVALUATE_BATCH_DEFAULT, Compiled, compile_module
from cloud.compiler.user_module import user_class
from fedtier.data.augmentation import Augmentation
from fedtier.data.fields import Fields
from fedtier.data.preprocessing import Pipeline
from fedtier.errors import ConfigError
from fedtier.limits import SEED_MAX

DESCRIPTION = "ARTEFACT"
"""Name of the mapping beside the class that holds ``compile_module``'s arguments and ``seed``."""

SEED_DEFAULT = 1
_SIZE_MAX = 1_000_000
_NUMBERS = {  # and the largest there may be; what makes sense is told by whoever takes it
    "smoothing": 1.0, "momentum": 1.0, "weight_decay": 1.0, "prox": 1000.0,
}  # fmt: skip
_SWITCHES = ("nesterov", "correction")


def compile_by_name(target: str, *, out: Path, overrides: Mapping[str, Any]) -> Compiled:
    """Import a class, make it from a seed and compile it.

    Args:
        target: ``net.py:Class`` or ``package.module:Class``; the class takes no arguments.
        out: Directory to write.
        overrides: Arguments of ``compile_module``, and ``seed``, that replace the module's own.

    Raises:
        ConfigError: If the target cannot be imported or made, its description is incomplete or
            wrong, or it cannot be compiled.
    """
    with user_class(target) as user:
        described = getattr(user.module, DESCRIPTION, {})
        if not isinstance(described, Mapping):
            raise ConfigError(
                f"{target}: {DESCRIPTION} is {type(described).__name__}. Make it a dict."
            )
        arguments = _arguments({**described, **overrides}, where=target)
        # Parameters are drawn here, once; an artefact carries them and nobody draws them again.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(arguments.pop("seed"))
            module = user.make()
        return compile_module(module, out=out, **arguments)


def _arguments(values: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """The description, every value of its type and in its range."""
    parameters = inspect.signature(compile_module).parameters
    known = [name for name in parameters if name not in ("module", "out")]
    needed = [name for name in known if parameters[name].default is inspect.Parameter.empty]
    if missing := [name for name in needed if name not in values]:
        raise ConfigError(
            f"{where}: {', '.join(missing)} must be given, as options or in a mapping "
            f"{DESCRIPTION} beside the class."
        )
    fields = Fields(values, where=where)
    arguments: dict[str, Any] = {
        "name": fields.text("name"),
        "input_shape": fields.integers("input_shape", low=1, high=_SIZE_MAX),
        "labels": fields.texts("labels"),
        "batch": fields.integer("batch", low=1, high=_SIZE_MAX),
        "input_dtype": fields.text("input_dtype", default=parameters["input_dtype"].default),
        "vocabulary": _whole(fields, "vocabulary"),
        "microbatch": _whole(fields, "microbatch"),
        "evaluate_batch": fields.integer(
            "evaluate_batch", low=1, high=_SIZE_MAX, default=EVALUATE_BATCH_DEFAULT
        ),
        "loss": fields.text("loss", default=parameters["loss"].default),
        **{
            name: fields.number(name, low=0.0, high=high, default=parameters[name].default)
            for name, high in _NUMBERS.items()
        },
        **{name: fields.boolean(name, default=parameters[name].default) for name in _SWITCHES},
        "lowering": fields.text("lowering", default=parameters["lowering"].default),
        "seed": fields.integer("seed", low=0, high=SEED_MAX, default=SEED_DEFAULT),
        "preprocessing": _transforms(values, "preprocessing", fields),
        "augmentation": _transforms(values, "augmentation", fields),
    }
    fields.finish()
    Augmentation.from_json(arguments["augmentation"], where=where)
    pipeline = Pipeline.from_json(arguments["preprocessing"], where=where)
    _check_window(pipeline, arguments["input_shape"], where=where)
    return arguments


def _whole(fields: Fields, name: str) -> int | None:
    return fields.integer(name, low=1, high=_SIZE_MAX) if fields.has(name) else None


def _transforms(
    values: Mapping[str, Any], key: str, fields: Fields
) -> Sequence[Mapping[str, object]]:
    if not fields.has(key):
        return ()
    steps = values[key]
    is_list = isinstance(steps, Sequence) and not isinstance(steps, str)
    if not is_list or not all(isinstance(step, Mapping) for step in steps):
        raise fields.error(
            key,
            f'is {steps!r}; it must be a list of transforms, such as [{{"name": "standardise"}}]',
        )
    return tuple(steps)


def _check_window(pipeline: Pipeline, shape: Sequence[int], *, where: str) -> None:
    window = pipeline.window
    if window is not None and tuple(shape[1:]) != (window.length,):
        raise ConfigError(
            f"{where}: the window of preprocessing has {window.length} rows, so examples have the "
            f"shape (channels, {window.length}), and input_shape is {tuple(shape)}. Make them "
            "agree."
        )
