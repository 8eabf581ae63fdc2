"""``fedtier config``: check, show and explain configuration files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False)

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="A federation file, node file or board profile.")
]


class Kind(StrEnum):
    """Kinds of configuration files."""

    FEDERATION = "federation"
    NODE = "node"
    BOARD = "board"


@app.callback()
def config() -> None:
    """Check and explain configuration files."""


@app.command()
def check(file: File) -> None:
    """Check a file; the first mistake is named with its place, value, range and remedy."""
    from fedtier.config.inspect_file import inspect_file

    typer.echo(f"{file}: ok: {inspect_file(file).summary}")


@app.command()
def show(file: File) -> None:
    """Show the values in force, where each came from, and a federation's tree."""
    from fedtier.config.inspect_file import inspect_file

    typer.echo(inspect_file(file).shown, nl=False)


@app.command()
def nodes(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A federation file with every broker's address.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Directory for the files, one per node.")],
    state_dir: Annotated[
        Path, typer.Option(help="Where nodes will keep their state, on their own machines.")
    ] = Path("/var/lib/fedtier"),
) -> None:
    """Write the node file of every node of a federation, to copy to its machine."""
    from fedtier.config.federation import load_federation
    from fedtier.config.render import render_node_files
    from fedtier.storage.durable import write_durably

    federation = load_federation(file)
    texts = render_node_files(
        federation, directory=state_dir, federation_file=file.absolute(), broker_kind="url"
    )
    for node, text in texts.items():
        write_durably(out / f"{node}.toml", text.encode())
    typer.echo(f"{out}: {len(texts)} node files")


@app.command()
def schema(
    kind: Annotated[Kind, typer.Argument(help="Which kind of file.")] = Kind.FEDERATION,
    *,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="The reference of all files, for people.")
    ] = False,
) -> None:
    """Print the JSON schema of a kind of file, for editors."""
    import json

    from fedtier.config.reference import json_schema
    from fedtier.config.reference import markdown as reference

    typer.echo(
        reference() if markdown else json.dumps(json_schema(kind.value), indent=2) + "\n", nl=False
    )
