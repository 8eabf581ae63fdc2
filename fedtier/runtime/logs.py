"""One line per event, for people and for grep: time, level, event, then key=value.

A value that is more than one plain word is written as Python would, so that neither a line break
nor a space of another node's making can look like a second event or a second field.
"""

from __future__ import annotations

import logging
import sys

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class KeyValueFormatter(logging.Formatter):
    """Writes the extra fields of a record behind its message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback if there is one."""
        own = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        line = super().format(record)
        if not own:
            return line
        first, newline, rest = line.partition("\n")  # of a traceback
        pairs = " ".join(f"{key}={_shown(value)}" for key, value in own.items())
        return f"{first}  {pairs}{newline}{rest}"


def _shown(value: object) -> str:
    text = str(value)
    plain = text.isprintable() and not set(text) & set(" \"'=\\")
    return text if plain and text else ascii(text)


def set_up(*, debug: bool = False) -> None:
    """Send log lines to stderr.

    Args:
        debug: Also say what was ignored and why, and every try to connect.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter())
    level = logging.DEBUG if debug else logging.INFO
    logging.basicConfig(level=level, handlers=[handler], force=True)
