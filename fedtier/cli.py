"""The command line's root: names every command, loads one only when it is called.

``fedtier --help`` must be quick on a small board, so what it lists stands in a table here and not
in the modules, which bring numpy, onnxruntime or paho. Scanning the installed packages for entry
points costs as much as half of Typer itself, so that is done only for a name that is not in the
table: a plug-in mounts its Typer app under an entry point of group ``fedtier.commands``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from fedtier import __version__
from fedtier.errors import EXIT_DONE
from fedtier.outermost import exit_with

ENTRY_POINT_GROUP = "fedtier.commands"


@dataclass(frozen=True, slots=True)
class Mount:
    """A command: the Typer app that runs it, and the line that help shows for it."""

    target: str  # "module:attribute"
    help: str


MOUNTS = {
    "demo": Mount(
        "fedtier.commands.demo:app",
        "Train a federation on this machine, every node a process of its own.",
    ),
    "sim": Mount(
        "fedtier.commands.sim:app",
        "Train a federation in virtual time, every node of it in this process.",
    ),
    "sweep": Mount(
        "fedtier.commands.sweep:app",
        "Train a federation with several settings and seeds, and compare what comes of them.",
    ),
    "new": Mount(
        "fedtier.commands.new:app",
        "Write a small federation that trains as it stands, to make your own of.",
    ),
    "plan": Mount(
        "fedtier.commands.plan:app",
        "Choose iteration counts, step size and quantizers for a deadline.",
    ),
    "compile": Mount(
        "cloud.compiler.commands:app",
        "Compile a torch module for devices; options replace what its ARTEFACT says.",
    ),
    "agent": Mount(
        "edge_agent.commands:app", "Run a device: it trains on its own data, and predicts."
    ),
    "gateway": Mount("gateway.commands:app", "Run a gateway: it averages what its children send."),
    "cloud": Mount("cloud.commands:app", "Run the cloud node: it holds the global model."),
    "probe": Mount(
        "edge_agent.probe.commands:app",
        "Measure what this board can do, and write a profile of it to paste.",
    ),
    "config": Mount("fedtier.commands.config:app", "Check and explain configuration files."),
}


class Root(TyperGroup):
    """Shows every command from the table, loads the one that is called."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (Typer's own signature)
        super().__init__(*args, **kwargs)
        for name, mount in MOUNTS.items():
            self.commands[name] = TyperCommand(name, help=mount.help)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 (click's, or Typer's copy)
        """The table's entry, which can only be shown; a plug-in for any other name."""
        known = super().get_command(ctx, cmd_name)
        return known if known is not None else _load_plug_in(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 (as above)
        """The command that is called, loaded."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in MOUNTS:
            command = _load(name, MOUNTS[name].target)
        return name, command, rest


def _load(name: str, target: str) -> Any:  # noqa: ANN401 (click's command, or Typer's copy)
    module, _, attribute = target.partition(":")
    command = typer.main.get_command(getattr(import_module(module), attribute))
    command.name = name
    return command


def _load_plug_in(name: str) -> Any:  # noqa: ANN401 (as above)
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        return _load(name, point.value)
    return None


app = typer.Typer(
    cls=Root,
    name="fedtier",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Hierarchical federated learning over MQTT, on edge devices.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fedtier {__version__}")
        raise typer.Exit(EXIT_DONE)


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: the outermost place, where every error ends.

    Args:
        arguments: What stands after the program's name; those of the process by default.

    Raises:
        SystemExit: Always. An error of ours is one line on stderr and its own exit code; a bug
            is a traceback and exit code 70.
    """

    def command() -> int:
        given = None if arguments is None else list(arguments)
        typer.main.get_command(app).main(given, prog_name="fedtier")
        return EXIT_DONE

    exit_with(command)


if __name__ == "__main__":
    main()
