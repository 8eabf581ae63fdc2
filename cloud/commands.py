"""``fedtier cloud``: the commands' signatures; what they do is loaded when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedtier.commands.options import Pilot, Rounds, Seed
from fedtier.extras import needs_extra

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def cloud() -> None:
    """Run the cloud node: it holds the global model."""


@app.command()
def run(
    *,
    config: Annotated[Path, typer.Option(help="The cloud's node file.")],
    federation: Annotated[
        Path | None, typer.Option(help="Federation file, if not the node file's: another plan.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory, if not the node file's.")] = None,
    rounds: Rounds = None,
    seed: Seed = None,
    pilot: Pilot = None,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Give up an unfinished run, and begin a new one.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Log what is ignored, too.")] = False,
) -> None:
    """Run one training of the federation in the foreground, and write its run directory."""
    with needs_extra("cloud"):
        from cloud.run import main

    raise typer.Exit(
        main(
            config,
            federation=federation,
            out=out,
            rounds=rounds,
            seed=seed,
            pilot=pilot,
            abandon=abandon,
            debug=debug,
        )
    )
