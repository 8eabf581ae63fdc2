"""``fedtier gateway``: the commands' signatures; what they do is loaded when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def gateway() -> None:
    """Run a gateway: it averages what its children send."""


@app.command()
def run(
    *,
    config: Annotated[Path, typer.Option(help="The gateway's node file.")],
    debug: Annotated[bool, typer.Option("--debug", help="Log what is ignored, too.")] = False,
) -> None:
    """Run this gateway in the foreground, until it is stopped."""
    from gateway.run import main

    raise typer.Exit(main(config, debug=debug))
