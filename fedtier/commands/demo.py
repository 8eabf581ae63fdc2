"""``fedtier demo``: the command's signature; what it does is loaded when it is called."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from fedtier.commands.options import Pilot, Rounds, Seed
from fedtier.extras import needs_extra

app = typer.Typer(add_completion=False)


class Broker(StrEnum):
    """Which brokers the demo starts."""

    EMBEDDED = "embedded"
    MOSQUITTO = "mosquitto"


@app.command()
def demo(
    *,
    out: Annotated[
        Path | None, typer.Option(help="Directory for the run; a new one by default.")
    ] = None,
    rounds: Rounds = None,
    seed: Seed = None,
    pilot: Pilot = None,
    broker: Annotated[
        Broker | None,
        typer.Option(help="Brokers to start; mosquitto where it is installed by default."),
    ] = None,
    federation: Annotated[
        Path | None, typer.Option(help="Federation file; sixteen smartwatches by default.")
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Also train in one process, and each device alone.")
    ] = False,
) -> None:
    """Train a federation on this machine, every node a process of its own."""
    with needs_extra("demo"):
        import_module("onnxruntime")  # its nodes need it: better said once than by each of them
        from fedtier.demo.run import main

    raise typer.Exit(
        main(
            out=out,
            rounds=rounds,
            seed=seed,
            pilot=pilot,
            broker=broker.value if broker is not None else None,
            federation=federation,
            reference=reference,
        )
    )
