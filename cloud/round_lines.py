"""Lines of JSON that each belong to a round, as in ``metrics.jsonl``; readable at any time."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedtier.storage.durable import append_line, storage_error, write_durably

log = logging.getLogger(__name__)


class RoundLines:
    """The lines of one file, in the order of their rounds; at most one each."""

    def __init__(self, path: Path, *, of: str) -> None:
        """Take up what an earlier boot wrote; from a line on that is not whole all is taken out.

        A power cut tears the last line alone. Where more are lost it is logged.

        Args:
            path: The file; none is no line.
            of: The key that has a line's round.

        Raises:
            StorageError: If the disk does not give the file, or does not take it.
        """
        self._path = path
        self._of = of
        self.rows: list[dict[str, Any]] = []
        try:
            data = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise storage_error(path, "read", error) from error
        lines = data.splitlines()
        for line in lines:
            row = self._row(line)
            if row is None:
                break
            self.rows.append(row)
        if (lost := len(lines) - len(self.rows)) > 1:
            log.warning("damaged end cut off", extra={"file": str(path), "lines": lost})
        if self._whole() != data:
            write_durably(path, self._whole())

    @property
    def seconds(self) -> float:
        """How long the run had gone on when the last line was written."""
        return float(self.rows[-1]["seconds"]) if self.rows else 0.0

    def drop(self, first: int) -> None:
        """Take out the lines of a round and of all later ones: they are to be done again.

        Raises:
            StorageError: If the disk does not take it.
        """
        kept = [row for row in self.rows if row[self._of] < first]
        if len(kept) < len(self.rows):
            self.rows = kept
            write_durably(self._path, self._whole())

    def add(self, row: Mapping[str, Any]) -> None:
        """Write a line, in place of those of the same round and of later ones.

        Raises:
            StorageError: If the disk does not take it.
        """
        self.drop(row[self._of])
        append_line(self._path, json.dumps(row))
        self.rows.append(dict(row))

    def _whole(self) -> bytes:
        return b"".join(json.dumps(row).encode() + b"\n" for row in self.rows)

    def _row(self, line: bytes) -> dict[str, Any] | None:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):  # ValueError: also bytes that are no UTF-8
            return None
        return row if isinstance(row, dict) and self._is_placed(row) else None

    def _is_placed(self, row: Mapping[str, Any]) -> bool:
        number, seconds = row.get(self._of), row.get("seconds", math.nan)
        if type(number) is not int or type(seconds) not in (int, float):
            return False
        return bool(abs(seconds) <= sys.float_info.max)  # neither nan nor a number beyond floats
