"""``fedtier plan``: which iteration counts, step size and quantizers reach most by a deadline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedtier.extras import needs_extra
from fedtier.limits import MU_MAX, MU_MIN

app = typer.Typer(add_completion=False)


@app.command()
def plan(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A federation file.")],
    *,
    deadline: Annotated[
        float,
        typer.Option(metavar="S", help="Seconds from the nodes' start to the last round's end."),
    ],
    estimates: Annotated[
        Path | None,
        typer.Option(
            metavar="JSON",
            help="What a pilot measured, estimates.json; by default a pilot is simulated.",
        ),
    ] = None,
    mu: Annotated[
        float | None,
        typer.Option(
            help="Keep to this step size; by default the best of those up to the pilot's."
        ),
    ] = None,
    codecs: Annotated[
        bool, typer.Option("--codecs", help="Also choose how many levels each link's qsgd has.")
    ] = False,
    steps_max: Annotated[
        int | None, typer.Option(min=1, help="The most local steps of a device in a round.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON document.")] = False,
) -> None:
    """Choose iteration counts, step size and quantizers for a deadline."""
    import json

    from fedtier.config.federation import load_federation
    from fedtier.config.simulation_tables import SimulatedLinkTable
    from fedtier.errors import ConfigError
    from fedtier.planner.document import document_of

    if not 0 < deadline < 1e9:
        raise ConfigError(f"--deadline = {deadline:g} is out of range: greater than 0, below 1e9")
    if mu is not None and not MU_MIN <= mu <= MU_MAX:
        raise ConfigError(f"--mu = {mu:g} is out of range: {MU_MIN:g} to {MU_MAX:g}")
    with needs_extra("sim"):
        from fedtier.api import plan as choose
    federation = load_federation(file)
    if estimates is None:
        typer.echo("no --estimates: measuring in the simulator, by [simulation] ...", err=True)
        if all(link == SimulatedLinkTable() for link in federation.simulation.link):
            typer.echo("its links take no time: see [[simulation.link]]", err=True)
    choice = choose(
        federation,
        deadline_s=deadline,
        estimates=estimates,
        mu=mu,
        codecs=codecs,
        steps_max=steps_max,
    )
    document = document_of(choice)
    if as_json:
        typer.echo(json.dumps(document, indent=2, allow_nan=False))
        return
    from fedtier.commands.plan_tables import print_plan

    print_plan(document, auto=federation.plan.auto is not None)
