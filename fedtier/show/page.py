"""What pages for a browser have in common: their looks, and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.sub { color: #5b6675; margin-top: .2rem; } code { font-size: 13px; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid #e3e8ef; }
th { color: #5b6675; font-weight: 500; } small { color: #5b6675; }
th:first-child, td:first-child, th.words, td.words { text-align: left; }
.cards { display: flex; gap: 1rem; flex-wrap: wrap; margin: 1.5rem 0; }
.card { border: 1px solid #e3e8ef; border-radius: 8px; padding: .7rem 1rem; min-width: 8rem; }
.card b { display: block; font-size: 1.5rem; } .card span { color: #5b6675; font-size: 13px; }
.warning { border-left: 4px solid #d97706; background: #fffbeb; padding: .6rem 1rem; }
.wide { overflow-x: auto; } .wide th, .wide td { white-space: nowrap; }
svg { max-width: 100%; height: auto; margin-top: 1.5rem; }
"""

PILOT_ON_LINKS = "Bytes are with the pilot's float32 rounds and gradients, mean q is without."
"""Of the table of links, where a run had a pilot."""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page.

    Args:
        title: Text, escaped here.
        parts: HTML; empty ones are left out.
    """
    head = (
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
    )
    return "\n".join([*head, *(part for part in parts if part), "</html>"])


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are HTML; the first column is set to the left."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div class=wide><table><tr>{head}</tr>{body}</table></div>"
