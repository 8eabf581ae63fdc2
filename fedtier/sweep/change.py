"""Give a federation file's document the values of a variant."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fedtier.config.federation_tables import FederationFile, LinkTable
from fedtier.config.files import resolve, resolve_spec
from fedtier.config.schema import Key, arms, choices_of, is_table, item_of, keys_of
from fedtier.errors import ConfigError
from fedtier.sweep.variant import Setting, Variant

Document = dict[str, Any]

_CODEC = ("link", "codec")
LINK_KEYS = tuple(key.name for key in keys_of(LinkTable) if not key.info.rest)
"""Of ``[[link]]``; all others are the codec's own parameters."""


def changed(
    document: Mapping[str, object], variant: Variant, *, rounds: int | None, directory: Path
) -> Document:
    """A federation file's document as one variant has it, for a file in any other directory.

    Args:
        document: Of a federation file that is right; it is left as it is.
        variant: Its values are put in; whether they are allowed the file's own check says.
        rounds: In place of the file's; a variant's own come before.
        directory: What paths in the document are relative to; they come out absolute.

    Raises:
        ConfigError: If a value cannot be put in its place; names the variant.
    """
    new: Document = copy.deepcopy(dict(document))
    if rounds is not None:
        new["plan"]["rounds"] = rounds
    where = f"--set {variant.text!r}"
    # First, for a codec takes the parameters of the one before away, and not those that are set.
    for setting in sorted(variant.settings, key=lambda setting: setting.path != _CODEC):
        codecs = [table["codec"] for table in new["link"]]
        _put(new, FederationFile, setting, setting.path, setting.value, where, len(codecs))
        for table, before in zip(new["link"], codecs, strict=True):
            if table["codec"] != before:
                for key in [key for key in table if key not in LINK_KEYS]:
                    del table[key]
    _fit_tau(new["plan"], {setting.path for setting in variant.settings}, where)
    _make_absolute(new, directory)
    return new


def _fit_tau(plan: Document, given: Collection[tuple[str, ...]], where: str) -> None:
    """See to what another tau needs beside it: a deadline if it is chosen, rounds if it is not."""
    if ("plan", "tau") not in given:
        return
    auto = ("plan", "auto") in {path[:2] for path in given}
    if plan["tau"] != "auto":
        if not auto:
            plan.pop("auto", None)  # it is for the file's own
        if "rounds" not in plan:
            raise ConfigError(
                f'{where}: rounds is missing, for the file has tau = "auto". Give --rounds, or set '
                "it beside tau, such as 'tau=8,2,2 rounds=50'."
            )
    elif not auto and "auto" not in plan:
        raise ConfigError(
            f"{where}: tau=auto needs a deadline: how many seconds a run may take. Set it beside "
            "tau, such as 'tau=auto plan.auto.deadline_s=600'."
        )


def _put(
    table: Document,
    hint: Any,  # noqa: ANN401 (the dataclass of this table; None where tables are free)
    setting: Setting,
    path: tuple[str, ...],
    value: object,
    where: str,
    links: int,
) -> None:
    name, *rest = path
    key = _key(hint, name)
    if not rest:
        table[name] = _fitting(value, key, setting, where)
        return
    tables = _item_table(key)
    if tables is None:
        inner = table.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{where}: {setting.key}: {name} is no table.")
        _put(inner, _table(key), setting, tuple(rest), value, where, links)
        return
    entries = table.setdefault(name, [{} for _ in range(links)])
    values = value if isinstance(value, list) else [value] * len(entries)
    if len(values) != len(entries):
        raise ConfigError(
            f"{where}: {setting.key} has {len(values)} values, and there are {len(entries)} "
            f"[[{name}]] tables. Give one value for all of them, or one for each, link 1 (from the "
            "devices) first; an empty one leaves its table as it is."
        )
    for entry, own in zip(entries, values, strict=True):
        if own is not None:
            _put(entry, tables, setting, tuple(rest), own, where, links)


def _key(hint: Any, name: str) -> Key | None:  # noqa: ANN401 (as above)
    return next((k for k in keys_of(hint) if k.name == name), None) if hint else None


def _table(key: Key | None) -> Any:  # noqa: ANN401 (as above)
    return next((arm for arm in arms(key.hint) if is_table(arm)), None) if key else None


def _item_table(key: Key | None) -> Any:  # noqa: ANN401 (as above)
    item = item_of(key.hint) if key else None
    return item if is_table(item) else None


def _fitting(value: object, key: Key | None, setting: Setting, where: str) -> object:
    if isinstance(value, list) and None in value:
        raise ConfigError(f"{where}: {setting.key} has an empty value. Give all of them.")
    if key is None or isinstance(value, list):
        return value
    return value if any(_takes_one(arm, value) for arm in arms(key.hint)) else [value]


def _takes_one(arm: object, value: object) -> bool:
    """Whether a type may take a value that is no array: words take no other word."""
    words = choices_of(arm)
    return value in words if words else item_of(arm) is None


def _make_absolute(document: Document, directory: Path) -> None:
    """Paths that are relative to the file; those of secrets are of the nodes' own machines."""
    model = document["model"]
    model["artefact"] = resolve(str(model["artefact"]), directory)
    for name in ("data", "evaluation"):
        if isinstance(document.get(name), dict):
            document[name] = resolve_spec(document[name], directory)
    for node in document.get("node", ()):
        if isinstance(node.get("data"), dict):
            node["data"] = resolve_spec(node["data"], directory)
        if str(node.get("board", "")).endswith(".toml"):
            node["board"] = resolve(node["board"], directory)
