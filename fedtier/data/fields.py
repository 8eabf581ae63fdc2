"""Reading named values that a person or an artefact wrote, with errors that say what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedtier.errors import ConfigError
from fedtier.words import closest, did_you_mean

NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


class Fields:
    """One table of named values; every read checks type and range, ``finish`` refuses the rest.

    Args:
        values: The table, as TOML or JSON gave it.
        where: What to name in errors, such as ``agent-3.toml [data]``.
    """

    def __init__(self, values: Mapping[str, object], *, where: str) -> None:
        self._values = values
        self._asked: set[str] = set()
        self.where = where

    def error(self, key: str, message: str) -> ConfigError:
        """An error about ``key``, for the caller to raise."""
        return ConfigError(f"{self.where}: {key} {message}")

    def has(self, key: str) -> bool:
        """Whether ``key`` was written; it then counts as known."""
        self._asked.add(key)
        return key in self._values

    def text(self, key: str, *, default: str | None = None) -> str:
        """A non-empty text.

        Raises:
            ConfigError: If it is missing without a default, empty, or not text.
        """
        value = self._take(key, default, expected="a text")
        if not isinstance(value, str) or not value:
            raise self.error(key, f"is {value!r}; it must be a text that is not empty")
        return self._printable(key, value)

    def path(self, key: str, *, default: str | None = None) -> Path:
        """A path, ``~`` expanded; not checked for existence.

        Raises:
            ConfigError: As ``text``, or if ``~`` names nobody of this machine.
        """
        value = self.text(key, default=default)
        try:
            return Path(value).expanduser()
        except RuntimeError as error:
            raise self.error(key, f"is {value!r}, and {error}. Write the path in full") from error

    def integer(self, key: str, *, low: int, high: int, default: int | None = None) -> int:
        """A whole number in ``[low, high]``.

        Raises:
            ConfigError: If it is missing without a default, of another type, or out of range.
        """
        value = self._take(key, default, expected=f"a whole number from {low} to {high}")
        return self._integer(key, value, low=low, high=high)

    def number(self, key: str, *, low: float, high: float, default: float | None = None) -> float:
        """A finite number in ``[low, high]``.

        Raises:
            ConfigError: If it is missing without a default, of another type, or out of range.
        """
        value = self._take(key, default, expected=f"a number from {low:g} to {high:g}")
        return self._number(key, value, low=low, high=high)

    def boolean(self, key: str, *, default: bool | None = None) -> bool:
        """True or false.

        Raises:
            ConfigError: If it is missing without a default, or of another type.
        """
        value = self._take(key, default, expected="true or false")
        if not isinstance(value, bool):
            raise self.error(key, f"is {value!r}; it must be true or false")
        return value

    def integers(self, key: str, *, low: int, high: int) -> tuple[int, ...]:
        """A list of one or more whole numbers, each in ``[low, high]``."""
        values = self._list(key, expected=f"a list of whole numbers from {low} to {high}")
        return tuple(self._integer(key, value, low=low, high=high) for value in values)

    def numbers(self, key: str, *, low: float, high: float) -> tuple[float, ...]:
        """A list of one or more finite numbers, each in ``[low, high]``."""
        values = self._list(key, expected=f"a list of numbers from {low:g} to {high:g}")
        return tuple(self._number(key, value, low=low, high=high) for value in values)

    def texts(self, key: str, *, expected: str = "a list of texts") -> tuple[str, ...]:
        """A list of one or more different texts, none empty; ``expected`` says so in errors."""
        values = self._list(key, expected=expected)
        texts = tuple(value for value in values if isinstance(value, str) and value)
        if len(texts) != len(values) or len(set(texts)) != len(texts):
            raise self.error(key, f"is {list(values)!r}; use different texts, none empty")
        return tuple(self._printable(key, text) for text in texts)

    def named_integers(self, key: str, *, low: int, high: int) -> dict[str, int]:
        """A table of names and whole numbers, each in ``[low, high]``; empty if it is missing.

        Raises:
            ConfigError: If it is no table, a name is not of a-z, 0-9, ``-`` and ``_`` beginning
                with a letter, or a number is out of range.
        """
        expected = f"a table of whole numbers from {low} to {high}"
        values = self._take(key, {}, expected=expected)
        if not isinstance(values, Mapping):
            raise self.error(key, f"is {values!r}; it must be {expected}")
        for name in values:
            if not NAME.fullmatch(name):
                raise self.error(
                    key,
                    f"holds the name {name!r}; a name has 1 to 40 characters of a-z, 0-9, '-' and "
                    "'_', a letter first",
                )
        return {
            name: self._integer(f"{key}.{name}", value, low=low, high=high)
            for name, value in values.items()
        }

    def is_table(self, key: str) -> bool:
        """Whether a table was written for ``key``, where it could be something else."""
        return isinstance(self._values.get(key), Mapping)

    def table(self, key: str, *, expected: str) -> Fields:
        """A table inside this one, with one or more names in it; ``expected`` says so in errors.

        Raises:
            ConfigError: If it is missing, empty, or no table.
        """
        value = self._take(key, None, expected=expected)
        if not isinstance(value, Mapping) or not value:
            raise self.error(key, f"is {value!r}; it must be {expected}, not empty")
        return Fields(value, where=f"{self.where}: {key}")

    @property
    def names(self) -> tuple[str, ...]:
        """The keys that were written, where they are names of the writer's own."""
        return tuple(self._values)

    def triples(self, key: str, *, low: int, high: int) -> tuple[tuple[int, int, int], ...]:
        """A list of lists of three whole numbers, each in ``[low, high]``, all different."""
        expected = "a list of lists of three different whole numbers"
        found: list[tuple[int, int, int]] = []
        for value in self._list(key, expected=expected):
            if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 3:
                raise self.error(key, f"holds {value!r}; it must be {expected}")
            x, y, z = (self._integer(key, number, low=low, high=high) for number in value)
            found.append((x, y, z))
        flat = [number for triple in found for number in triple]
        if len(set(flat)) != len(flat):
            raise self.error(key, f"is {[list(t) for t in found]!r}; no number may come twice")
        return tuple(found)

    def finish(self) -> None:
        """Refuse what was written and never asked for.

        Raises:
            ConfigError: If a key is unknown; the message proposes the nearest known one.
        """
        for key in self._values:
            if key not in self._asked:
                raise self.error(repr(key), f"is unknown. {did_you_mean(key, self._asked)}")

    def _take(self, key: str, default: object, *, expected: str) -> object:
        self._asked.add(key)
        value = self._values.get(key, default)
        if value is None:
            written = closest(key, self._values.keys() - self._asked)
            hint = f". Is {written!r} a misspelling of it?" if written else ""
            raise self.error(key, f"is missing; it must be {expected}{hint}")
        return value

    def _printable(self, key: str, text: str) -> str:
        if "\0" in text:
            raise self.error(key, f"is {text!r}; no name or path holds a null character")
        return text

    def _list(self, key: str, *, expected: str) -> Sequence[object]:
        value = self._take(key, None, expected=expected)
        if not isinstance(value, Sequence) or isinstance(value, str) or not value:
            raise self.error(key, f"is {value!r}; it must be {expected}, not empty")
        return value

    def _integer(self, key: str, value: object, *, low: int, high: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            wanted = f"a whole number from {low} to {high}"
            raise self.error(key, f"is {_written(value)}; it must be {wanted}")
        return value

    def _number(self, key: str, value: object, *, low: float, high: float) -> float:
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not low <= value <= high  # which NaN is not, either
        ):
            wanted = f"a number from {low:g} to {high:g}"
            raise self.error(key, f"is {_written(value)}; it must be {wanted}")
        return float(value)


def _written(value: object) -> str:
    """A value that is no number, as it was written."""
    return f"{value!r}, a text in quotes" if isinstance(value, str) else repr(value)
