"""``fedtier sim``: the command's signature; what it does is loaded when it is called."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from fedtier.commands.options import Pilot, Rounds, Seed
from fedtier.extras import needs_extra

app = typer.Typer(add_completion=False)


@app.command()
def sim(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A federation file.")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="Directory for the run; a new one by default.")
    ] = None,
    rounds: Rounds = None,
    seed: Seed = None,
    pilot: Pilot = None,
    faults: Annotated[
        str | None,
        typer.Option(
            metavar="KEY=NUMBER,...",
            help="What befalls it, such as drop=0.2,crash=5,until=60: see docs/simulation.md.",
        ),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Log all that nodes log, not their warnings alone.")
    ] = False,
) -> None:
    """Train a federation in virtual time, every node of it in this process."""
    with needs_extra("sim"):
        import_module("onnxruntime")
        from fedtier.sim.run import main

    code = main(file, out=out, rounds=rounds, seed=seed, pilot=pilot, faults=faults, debug=debug)
    raise typer.Exit(code)
