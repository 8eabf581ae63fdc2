"""What a run has come to so far, read from what the cloud writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fedtier.show.tail import Tail


class Progress:
    """Follows ``metrics.jsonl``."""

    def __init__(self, path: Path) -> None:
        self._tail = Tail(path)
        self.rows: list[dict[str, Any]] = []

    def look(self) -> list[dict[str, Any]]:
        """The rounds closed since the last look."""
        fresh = [json.loads(line) for line in self._tail.lines() if line]
        self.rows += fresh
        return fresh
