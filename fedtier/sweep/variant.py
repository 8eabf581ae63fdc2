"""What ``--set`` says: keys of a federation file and the values one variant gives them."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from fedtier.config.federation_tables import LinkTable, PlanTable, ScheduleTable
from fedtier.config.schema import keys_of
from fedtier.config.toml_text import parse_document
from fedtier.errors import ConfigError
from fedtier.quantize.registry import CODEC_PARAMETERS
from fedtier.words import did_you_mean

AS_WRITTEN = "as-written"
_NAME_MAX = 80  # characters of a directory's name
_EXAMPLE = "Write KEY=VALUE, several with spaces between them, such as 'tau=8,2,2 mu=0.1'."
_LITERALS = ("[", "{", '"')  # what begins with these is written as in TOML

_TABLES = {  # where a plain key stands; codecs' own parameters stand beside a link's keys
    ("plan",): tuple(k.name for k in keys_of(PlanTable) if k.name not in ("seed", "schedule")),
    ("plan", "schedule"): tuple(k.name for k in keys_of(ScheduleTable)),
    ("link",): (*(k.name for k in keys_of(LinkTable) if not k.info.rest), *CODEC_PARAMETERS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key and the value it is to have."""

    key: str  # as it was written
    path: tuple[str, ...]  # tables from the top of the file, then the key
    value: object  # a list of one for each table, with None where one is to stay, or one for all


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A federation file with some values of its own."""

    text: str  # as it was written; "" = the file as it is
    settings: tuple[Setting, ...]

    @property
    def title(self) -> str:
        """What people see of it."""
        return self.text or AS_WRITTEN

    @property
    def directory(self) -> str:
        """The name of its directory: the text, without what file systems or shells dislike."""
        name = re.sub(r"[^A-Za-z0-9=,.+-]+", "_", self.title).strip("_.")
        if len(name) <= _NAME_MAX:
            return name
        return f"{name[: _NAME_MAX - 9]}-{hashlib.sha256(self.text.encode()).hexdigest()[:8]}"


def parse_variants(texts: Sequence[str]) -> tuple[Variant, ...]:
    """All variants of a sweep; of none, the file as it is.

    Args:
        texts: What each ``--set`` gave.

    Raises:
        ConfigError: If one cannot be understood, or two are the same.
    """
    variants: dict[str, Variant] = {}
    for text in texts or ("",):
        variant = parse_variant(text)
        other = variants.setdefault(variant.directory, variant)
        if other is not variant:
            raise ConfigError(
                f"--set {text!r} and --set {other.text!r} would share the directory "
                f"{variant.directory}. Leave one out, or write it otherwise."
            )
    return tuple(variants.values())


def parse_variant(text: str) -> Variant:
    """One variant.

    Args:
        text: Such as ``tau=8,2,2 mu=0.1``.

    Raises:
        ConfigError: If it cannot be understood; names the key and the keys there are.
    """
    where = f"--set {text!r}"
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}: a quote has no end.") from error
    settings: dict[tuple[str, ...], Setting] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise ConfigError(f"{where}: {word!r} gives no key a value. {_EXAMPLE}")
        path = _path(key, where=where)
        if path in settings:
            raise ConfigError(f"{where}: gives {key} twice. Leave one out.")
        settings[path] = Setting(key=key, path=path, value=_value(value, where=f"{where}: {key}"))
    return Variant(text=" ".join(text.split()), settings=tuple(settings.values()))


def _path(key: str, *, where: str) -> tuple[str, ...]:
    if key in ("seed", "plan.seed"):
        raise ConfigError(f"{where}: give seeds by --seeds and --first-seed.")
    if "." in key:
        path = tuple(key.split("."))
        if not all(path):
            raise ConfigError(f"{where}: {key!r} is no path such as simulation.step_s.")
        return path
    for table, keys in _TABLES.items():
        if key in keys:
            return (*table, key)
    known = [name for keys in _TABLES.values() for name in keys]
    raise ConfigError(
        f"{where}: there is no {key!r} in [plan], [plan.schedule] and [[link]]. "
        f"{did_you_mean(key, known)} For other tables write a path, such as simulation.step_s."
    )


def _value(text: str, *, where: str) -> object:
    if text.startswith(_LITERALS):
        return parse_document(f"value = {text}", where=where)["value"]
    if "," in text:
        return [_scalar(entry) if entry else None for entry in text.split(",")]
    return _scalar(text)


def _scalar(text: str) -> object:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
