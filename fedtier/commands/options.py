"""Options that several commands have, each said once."""

from __future__ import annotations

from typing import Annotated

import typer

from fedtier.limits import PILOT_ROUNDS_MIN, ROUNDS_MAX, SEED_MAX

Rounds = Annotated[
    int | None,
    typer.Option(min=1, max=ROUNDS_MAX, help="Rounds, if not those of the federation file."),
]
Seed = Annotated[
    int | None,
    typer.Option(min=0, max=SEED_MAX, help="Seed, if not that of the federation file."),
]
Pilot = Annotated[
    int | None,
    typer.Option(
        min=PILOT_ROUNDS_MIN,
        max=ROUNDS_MAX,
        help="Measure the federation in so many first rounds, and write estimates.json.",
    ),
]
