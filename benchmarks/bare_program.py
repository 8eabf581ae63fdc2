"""The least that Typer can do, for ``help_startup`` to compare with: two commands, no imports."""

from __future__ import annotations

import typer

app = typer.Typer(pretty_exceptions_enable=False, help="Two commands.")


@app.command()
def first() -> None:
    """Do one thing."""


@app.command()
def second() -> None:
    """Do another."""


if __name__ == "__main__":
    app()
