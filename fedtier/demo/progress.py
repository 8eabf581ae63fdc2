"""What a run has come to so far, read from what the cloud writes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Progress:
    """Follows ``metrics.jsonl``; each look reads only what is new."""

    path: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    _position: int = 0

    def look(self) -> list[dict[str, Any]]:
        """The rounds closed since the last look."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._position)
            data = file.read()
        whole, newline, _ = data.rpartition(b"\n")
        self._position += len(whole) + len(newline)
        fresh = [json.loads(line) for line in whole.splitlines() if line]
        self.rows += fresh
        return fresh
