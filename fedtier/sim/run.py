"""``fedtier sim``: simulate a federation, watch it train, show what came of it."""

from __future__ import annotations

import logging
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from fedtier.artefact.find import find_artefact
from fedtier.config.federation import load_federation
from fedtier.config.files import read_text
from fedtier.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    EXIT_UNTRAINED,
    FedtierError,
)
from fedtier.ids import NodeId
from fedtier.show.screen import Screen, rounds_to_show
from fedtier.show.summary import print_summary
from fedtier.sim.faults import Faults
from fedtier.sim.log import log_to
from fedtier.sim.simulate import Simulated, simulate
from fedtier.storage.durable import storage_error, write_durably
from fedtier.storage.new_files import check_unused, fresh_directory
from fedtier.words import counted

_RUNS = Path("runs")
_LOG = "sim.log"


def main(
    file: Path,
    *,
    out: Path | None,
    rounds: int | None,
    seed: int | None,
    pilot: int | None = None,
    faults: str | None = None,
    debug: bool = False,
) -> int:
    """Simulate a federation.

    Args:
        file: The federation file.
        out: The run directory; a new one below ``runs/`` by default.
        rounds: In place of the federation file's.
        seed: In place of the federation file's.
        pilot: Rounds at the beginning in which the run is measured; None for none.
        faults: What befalls it, as ``Faults.parse`` reads it; then invariants are checked.
        debug: Whether the log has all that nodes log, and not warnings alone.

    Returns:
        The exit code: 0, 65 where nobody trained, or 130 after Ctrl-C.
    """
    # As Ctrl-C, so that nothing is left in memory; SIGTERM alone would end it on the spot.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    console = Console()
    federation = load_federation(file)
    asked = None if faults is None else Faults.parse(faults)
    directory = (out or fresh_directory(_RUNS, "sim")).resolve()
    check_unused(directory, called=f"--out {directory}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(directory, "made", error) from error
    write_durably(directory / "federation.toml", read_text(file).encode())
    log_to(directory / _LOG, level=logging.INFO if debug else logging.WARNING)
    topology, began_s = federation.topology, time.monotonic()
    title = f"{counted(len(topology.devices()), 'device')}, simulated in virtual time"
    screen = Screen(console, topology, rounds=rounds_to_show(federation, rounds), title=title)
    started = False
    try:
        with ExitStack() as shown:

            def show() -> None:
                nonlocal started
                started = True
                shown.enter_context(screen)
                screen.show_up({node.id for node in topology})

            result = simulate(
                federation,
                seed=seed,
                rounds=rounds,
                pilot=pilot,
                out=directory,
                faults=asked,
                checks=asked is not None,
                on_start=show,
                on_round=lambda row: screen.show_rounds([row]),
            )
    except KeyboardInterrupt:
        console.print(f"\nstopped; the log is in {directory / _LOG}", soft_wrap=True)
        return EXIT_INTERRUPTED
    except FedtierError:
        if not started:  # what was refused leaves nothing: the same --out is for the next try
            shutil.rmtree(directory, ignore_errors=True)
        raise
    dimension = find_artefact(federation.artefact).layout.dimension
    print_summary(console, result.report, dimension=dimension, untrained=_untrained(result))
    if result.befallen is not None:
        console.print(f"It has gone through {result.befallen.text}.")
    seconds = time.monotonic() - began_s
    console.print(
        f"{result.seconds:.1f} s of virtual time in {seconds:.0f} s. Everything about this run is "
        f"in [bold]{directory}[/bold]",
        soft_wrap=True,
    )
    return EXIT_DONE if result.report["rounds_trained"] else EXIT_UNTRAINED


def _untrained(result: Simulated) -> dict[NodeId, str]:
    return {
        NodeId(node["id"]): f"see {_LOG}"
        for node in result.report["nodes"]
        if node["tier"] == 0 and not node["cpu_seconds"]
    }
