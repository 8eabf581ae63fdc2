"""``fedtier config``: check, show and explain configuration files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from fedtier.extras import needs_extra

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
    """Check a file and what it names; the first mistake is named with its place and remedy."""
    from fedtier.config.inspect_file import inspect_file
    from fedtier.config.named import check_named

    inspected = inspect_file(file)
    for warning in check_named(inspected.found, where=str(file)):
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{file}: ok: {inspected.summary}")


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
    out: Annotated[Path, typer.Option(help="Where to write them.")],
    state_dir: Annotated[
        Path, typer.Option(help="Where nodes will keep their state, on their own machines.")
    ] = Path("/var/lib/fedtier"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that are there with other content.")
    ] = False,
) -> None:
    """Write a directory for every node of a federation, to copy to its machine as it is."""
    from fedtier.config.federation import load_federation
    from fedtier.config.files import read_text
    from fedtier.render.node_directories import render_node_directories
    from fedtier.render.readme import README_FILE, list_directories, render_readme
    from fedtier.storage.new_files import others_below, write_new_files

    federation = load_federation(file, as_written=True)
    there = PurePosixPath(state_dir)
    directories = render_node_directories(
        federation,
        federation_text=read_text(file),
        artefact=_artefact(federation.artefact, file.resolve().parent),
        state_dir=there,
    )
    files = {
        f"{node}/{name}": content
        for node, directory in directories.items()
        for name, content in directory.items()
    }
    files[README_FILE] = render_readme(federation, directories, state_dir=there).encode()
    written = write_new_files(out, files, force=force)
    typer.echo(f"{out}: {len(directories)} nodes, {len(files)} files, {written} written\n")
    for line in list_directories(federation, directories):
        typer.echo(f"  {line}")
    if others := others_below(out, files):
        typer.echo(
            f"\nwarning: of no node of this federation, so remove what is left of another: "
            f"{', '.join(str(out / name) for name in others)}",
            err=True,
        )
    example = federation.topology.parents()[0]
    typer.echo(
        f"\nEach directory goes to its machine as /etc/fedtier, for example"
        f"\n  scp -rp {out / example}/. {example}:/etc/fedtier/"
        f"\n{out / README_FILE} has the commands for all of them: passwords, copy, services."
    )


def _artefact(name: str, directory: Path) -> dict[str, bytes] | None:
    """The files of a compiled model that a federation file names relative to itself."""
    from fedtier.config.files import PACKAGE

    if name.startswith((PACKAGE, "~")) or Path(name).is_absolute():
        return None
    with needs_extra("device"):
        from fedtier.artefact.artefact import Artefact

    return Artefact.load(directory / name).contents()


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
