"""``fedtier probe``: the command's signature; what it does is loaded when it is called."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from edge_agent.probe.held_signals import held
from fedtier.extras import need, needs_extra

app = typer.Typer(add_completion=False)

SECONDS_DEFAULT, SECONDS_MIN, SECONDS_MAX = 60.0, 5.0, 86_400.0


@app.command()
def probe(
    *,
    artefact: Annotated[
        str, typer.Option(help="What to train: a directory, or package:NAME.")
    ] = "package:imu",
    broker: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Measure the way to this broker, too: mqtt://HOST:PORT."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A device's node file, for the broker of its parent, its login, and its disk."
        ),
    ] = None,
    directory: Annotated[
        Path | None, typer.Option(help="Whose disk is written to; the working directory's.")
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(
            min=SECONDS_MIN, max=SECONDS_MAX, help="All of it together; it never takes longer."
        ),
    ] = SECONDS_DEFAULT,
    out: Annotated[Path | None, typer.Option(help="File for the figures, as JSON.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON, and nothing else.")
    ] = False,
) -> None:
    """Measure what this board can do, and write a profile of it to paste."""
    began_s = time.monotonic()  # what is loaded now is part of the time
    with held(signal.SIGINT), needs_extra("device"):
        need("numpy")
        need("onnxruntime")
        from edge_agent.probe.run import Wanted, main

    wanted = Wanted(
        artefact=artefact,
        broker=broker,
        node_file=config,
        directory=directory,
        began_s=began_s,
        seconds=seconds,
        out=out,
        as_json=json,
    )
    raise typer.Exit(main(wanted))
