"""``fedtier cloud``: the commands' signatures; what they do is loaded when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def cloud() -> None:
    """Run the cloud node: it holds the global model."""


@app.command()
def run(
    config: Annotated[Path, typer.Option(help="The cloud's node file.")],
) -> None:
    """Run one training of the federation in the foreground, and write its run directory."""
    from cloud.run import main

    raise typer.Exit(main(config))
