"""What a growing file has gained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Tail:
    """Follows a file of lines; each look reads only what is new."""

    path: Path
    _position: int = 0

    def lines(self) -> list[str]:
        """The lines completed since the last look; none while there is no file."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._position)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._position += len(whole) + len(newline)
        return whole.decode("utf-8", errors="replace").split("\n") if newline else []
