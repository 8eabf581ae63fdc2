"""Help with misspelt words; every error that refuses a name uses it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """The sentence that proposes the nearest known word, after a space; empty if none is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Sentences that propose the nearest known word, if one is near, and list all of them."""
    names = sorted(known)
    listing = f"Known: {', '.join(names) or 'nothing'}."
    return f"{nearest(word, names)} {listing}".strip()
