"""Words for people: help with misspelt ones, which every refused name gets; and counted things."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is nearest; None if none is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def nearest(word: str, known: Iterable[str]) -> str:
    """The sentence that proposes the nearest known word, after a space; empty if none is near."""
    close = closest(word, known)
    return f" Did you mean {close!r}?" if close else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Sentences that propose the nearest known word, if one is near, and list all of them."""
    names = sorted(known)
    listing = f"Known: {', '.join(names) or 'nothing'}."
    return f"{nearest(word, names)} {listing}".strip()


def counted(number: int, noun: str) -> str:
    """So many of a thing whose plural ends in s: ``1 gateway``, ``2 gateways``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def printable(text: str) -> str:
    """On one line, every run of what no terminal or file should be given as one space."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
