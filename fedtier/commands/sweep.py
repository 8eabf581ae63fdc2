"""``fedtier sweep``: the command's signature; what it does is loaded when it is called."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from fedtier.commands.options import Rounds
from fedtier.extras import need, needs_extra
from fedtier.limits import SEED_MAX

app = typer.Typer(add_completion=False)

_SEEDS_MAX = 1000


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A federation file.")],
    *,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="'KEY=VALUE ...'",
            help="A variant: keys of the plan or the links, such as 'tau=8,2,2 mu=0.1', or paths "
            "such as simulation.step_s=0.1. Again for each variant; '' is the file as it is.",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=_SEEDS_MAX, help="Runs of each variant, a seed each.")
    ] = 1,
    first_seed: Annotated[
        int, typer.Option(min=0, max=SEED_MAX - _SEEDS_MAX, help="The first seed.")
    ] = 1,
    rounds: Rounds = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Directory for the sweep, a new one by default; that of an earlier "
            "sweep: go on with it."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="The cloud's node file: run on its fleet, which stands; simulate by default."
        ),
    ] = None,
) -> None:
    """Train a federation with several settings and seeds, and compare what comes of them."""
    with needs_extra("sim"):
        import_module("onnxruntime")
        if config is None:
            need("greenlet")  # of its runs, which are processes of their own
        from fedtier.sweep.run import main

    raise typer.Exit(
        main(
            file,
            sets=sets or (),
            seeds=seeds,
            first_seed=first_seed,
            rounds=rounds,
            out=out,
            config=config,
        )
    )
