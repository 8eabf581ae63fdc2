"""Where in a file something stands, as an error names it."""

from __future__ import annotations

from dataclasses import dataclass

from fedtier.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Place:
    """A file and a table of it, such as ``federation.toml: [plan.schedule]``."""

    file: str
    table: str = ""  # dotted; "" = the top of the file
    number: int = 0  # which of an array of tables, from 1; 0 = a plain table

    def __str__(self) -> str:
        if not self.table:
            return self.file
        if self.number:
            return f"{self.file}: [[{self.table}]] {self.number}"
        return f"{self.file}: [{self.table}]"

    def below(self, name: str, *, number: int = 0) -> Place:
        """The place of a table inside this one."""
        inner = f"{self.table} {self.number}" if self.number else self.table
        return Place(self.file, f"{inner}.{name}" if inner else name, number)

    def at(self, name: str) -> str:
        """The place of one key."""
        return f"{self} {name}" if self.table else f"{self}: {name}"

    def refuse(self, name: str, message: str) -> ConfigError:
        """The error about one key of this place."""
        return ConfigError(f"{self.at(name)} {message}")
