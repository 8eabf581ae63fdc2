"""``fedtier agent``: the commands' signatures; what they do is loaded when they are called."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from fedtier.config.files import read_text
from fedtier.config.kinds import check_kind
from fedtier.config.toml_text import parse_document
from fedtier.extras import need, needs_extra

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def agent() -> None:
    """Run a device: it trains on its own data, and predicts."""


@app.command()
def run(
    *,
    config: Annotated[Path, typer.Option(help="The device's node file.")],
    debug: Annotated[bool, typer.Option("--debug", help="Log what is ignored, too.")] = False,
) -> None:
    """Run this device in the foreground, until it is stopped."""
    with needs_extra("device"):
        need("numpy")
        need("onnxruntime")
    check_kind(parse_document(read_text(config), where=str(config)), "node", where=str(config))
    options = ["--debug"] if debug else []
    command = [sys.executable, "-P", "-m", "edge_agent", str(config), *options]
    sys.stderr.flush()
    os.execv(sys.executable, command)  # in this very process, without what parsed the options


@app.command()
def predict(
    *,
    config: Annotated[Path, typer.Option(help="The device's node file.")],
    input: Annotated[
        str, typer.Option(help="CSV, .npy, .npz or JSON lines: see docs/inference.md; - is stdin.")
    ],
    prepared: Annotated[
        bool, typer.Option("--prepared", help="The examples have had the preprocessing.")
    ] = False,
    trait: Annotated[
        list[str] | None, typer.Option(help="NAME=NUMBER that the preprocessing asks for.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each prediction as JSON.")] = False,
) -> None:
    """Predict with the model this device serves: a line for each example.

    Asks the agent where it runs, else opens the model that it accepted last.
    """
    with needs_extra("device"):
        from edge_agent.inference.predict import print_predictions

        print_predictions(config, input, prepared=prepared, traits=trait or (), as_json=as_json)
