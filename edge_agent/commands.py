"""``fedtier agent``: the commands' signatures; what they do is loaded when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedtier.commands.extras import need, needs_extra

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def agent() -> None:
    """Run a device: it trains on its own data."""


@app.command()
def run(
    *,
    config: Annotated[Path, typer.Option(help="The device's node file.")],
    debug: Annotated[bool, typer.Option("--debug", help="Log what is ignored, too.")] = False,
) -> None:
    """Run this device in the foreground, until it is stopped."""
    with needs_extra("device"):
        need("onnxruntime")  # which the agent itself never imports
        from edge_agent.run import main

    raise typer.Exit(main(config, debug=debug))
