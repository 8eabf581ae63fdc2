"""What a page such as ``docs/run-directory.md`` says there is, held against what is left behind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from testbed import REPOSITORY

PAGE = REPOSITORY / "docs" / "run-directory.md"
_ROW = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
_OPEN = re.compile(r"<\w+>")  # a place left open, such as a device's name


def listed(section: str, *, page: Path = PAGE) -> set[str]:
    """The names in the first column of a section's tables."""
    _, _, rest = page.read_text(encoding="utf-8").partition(f"\n## {section}\n")
    assert rest, f"{page} has no section {section!r}"
    return set(_ROW.findall(rest.partition("\n## ")[0]))


def keys_of(document: object, above: str = "") -> Iterator[str]:
    """Every key of a document, with all that it is in: ``accuracy_devices.worst.node``."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            yield f"{above}{key}"
            yield from keys_of(value, f"{above}{key}.")
    elif isinstance(document, list):
        for item in document:
            yield from keys_of(item, f"{above.removesuffix('.')}[].")


def check_keys(
    section: str, *documents: Any, elsewhere: tuple[str, ...] = (), page: Path = PAGE
) -> None:
    """Every key of some documents stands in a section, and every key there is in one of them.

    Args:
        section: The heading.
        documents: What a run wrote.
        elsewhere: Lists whose rows have a section of their own.
        page: Where the section is.
    """
    found = {key for document in documents for key in keys_of(document)}
    found = {key for key in found if not key.startswith(tuple(f"{e}[]." for e in elsewhere))}
    patterns = {
        name: re.compile(".+".join(map(re.escape, _OPEN.split(name))))
        for name in listed(section, page=page)
    }
    unknown = {key for key in found if not any(p.fullmatch(key) for p in patterns.values())}
    assert not unknown, f"{page}, {section}: not described"
    gone = {n for n, pattern in patterns.items() if not any(map(pattern.fullmatch, found))}
    assert not gone, f"{page}, {section}: not there"
