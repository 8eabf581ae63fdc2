"""``fedtier new``: a small federation of one's own to begin with."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


class Data(StrEnum):
    """Kinds of files that the example's data come in."""

    CSV = "csv"
    NPZ = "npz"


@app.command()
def new(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to write it: a new or empty directory.")
    ],
    *,
    data: Annotated[Data, typer.Option(help="What files the example's data are.")] = Data.CSV,
) -> None:
    """Write a small federation that trains as it stands, to make your own of."""
    from fedtier.starter.write import write_starter

    commands = write_starter(directory, data=data.value)
    typer.echo(f"{directory}: a federation of four devices, with data. It trains by\n")
    for command in (f"cd {shlex.quote(str(directory))}", *commands):
        typer.echo(f"  {command}")
    typer.echo("\nFor data of your own edit federation.toml and net.py; README.md says how.")
