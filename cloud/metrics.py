"""``metrics.jsonl``: a line for each round that has closed, readable while the run goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedtier.storage.durable import append_line, storage_error, write_durably


class Metrics:
    """The lines of one run, in the order of its rounds."""

    def __init__(self, path: Path, *, rounds_done: int) -> None:
        """Take up what an earlier boot wrote.

        Args:
            path: The file.
            rounds_done: Rounds in the model; the line of a later one, or what is not a whole
                line, is of a boot that was cut off, and is taken out.

        Raises:
            StorageError: If the disk does not give the file, or does not take it.
        """
        self._path = path
        self.rows: list[dict[str, Any]] = []
        try:
            data = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise storage_error(path, "read", error) from error
        for line in data.splitlines():
            row = _row(line)
            if row is None or row["round"] >= rounds_done:
                break
            self.rows.append(row)
        whole = b"".join(map(_line, self.rows))
        if whole != data:
            write_durably(path, whole)

    @property
    def seconds(self) -> float:
        """How long the run had gone on when the last round closed."""
        return float(self.rows[-1]["seconds"]) if self.rows else 0.0

    def add(self, row: Mapping[str, Any]) -> None:
        """Write a round down.

        Raises:
            StorageError: If the disk does not take it.
        """
        append_line(self._path, json.dumps(row))
        self.rows.append(dict(row))


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row).encode() + b"\n"


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and {"round", "seconds"} <= row.keys() else None
