"""``fedtier sweep``: check every variant, do the runs one after another, show them side by side."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from fedtier.config.federation import load_federation
from fedtier.config.node_file import load_node_file
from fedtier.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_TERMINATED
from fedtier.runtime.host import Clock
from fedtier.show.summary import print_table
from fedtier.storage.durable import write_durably
from fedtier.storage.new_files import fresh_directory
from fedtier.sweep.execute import execute, finished, make_directory
from fedtier.sweep.page import sweep_page
from fedtier.sweep.queue import Run, check_unmixed, runs_of
from fedtier.sweep.results import Outcome, document_of, json_text, rows_of
from fedtier.sweep.table import sweep_table
from fedtier.sweep.variant import parse_variants
from fedtier.words import counted

_RUNS = Path("runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sweep:
    federation: str  # its id
    file: Path
    config: Path | None  # of the cloud of a standing fleet; None = simulated
    clock: Clock
    directory: Path
    runs: Sequence[Run]


def main(
    file: Path,
    *,
    sets: Sequence[str],
    seeds: int,
    first_seed: int,
    rounds: int | None,
    out: Path | None,
    config: Path | None,
) -> int:
    """Do what is not done yet of a sweep.

    Args:
        file: The federation file.
        sets: What each ``--set`` gave: a variant each.
        seeds: How many, for every variant.
        first_seed: The first of them.
        rounds: In place of the federation file's.
        out: The directory of the sweep; a new one below ``runs/`` by default.
        config: The cloud's node file, for runs on a standing fleet; None = simulate.

    Returns:
        The exit code: 0, 130 after Ctrl-C, or that of the first run that failed.

    Raises:
        ConfigError: If the file or a variant cannot be, or ``out`` holds other runs.
        StorageError: If a disk does not take what is written.
    """
    # As Ctrl-C: the run that is under way must not outlive this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    console = Console()
    sweep = _prepare(
        file, sets=sets, seeds=range(first_seed, first_seed + seeds), rounds=rounds, out=out,
        config=config,
    )  # fmt: skip
    make_directory(sweep.directory)
    outcomes = {run: finished(run) for run in sweep.runs if run.report() is not None}
    for run in sweep.runs:
        if run not in outcomes and run.report_path.exists():
            said = f"{run.report_path} is no report of a run, so that run is done again"
            console.print(said, markup=False, highlight=False, soft_wrap=True)
    interrupted = False
    try:
        _work(sweep, outcomes, console)
    except KeyboardInterrupt:
        interrupted = True
        console.print("\nstopped; the same command with this --out goes on", soft_wrap=True)
    _show(sweep, list(outcomes.values()), console)
    failed = [outcome.exit_code for outcome in outcomes.values() if outcome.exit_code]
    return EXIT_INTERRUPTED if interrupted else failed[0] if failed else EXIT_DONE


def _prepare(
    file: Path,
    *,
    sets: Sequence[str],
    seeds: Sequence[int],
    rounds: int | None,
    out: Path | None,
    config: Path | None,
) -> _Sweep:
    """Refuse what cannot be, before anything is made or run."""
    if config is not None:
        load_node_file(config, role="cloud")
    federation = load_federation(file)
    clock: Clock = "virtual" if config is None else "wall"
    directory = (out or fresh_directory(_RUNS, "sweep")).resolve()
    variants = parse_variants(sets)
    runs = runs_of(file, variants, seeds=seeds, rounds=rounds, out=directory, clock=clock)
    check_unmixed(runs, clock=clock)
    return _Sweep(
        federation=federation.id, file=file, config=config, clock=clock, directory=directory,
        runs=runs,
    )  # fmt: skip


def _work(sweep: _Sweep, outcomes: dict[Run, Outcome], console: Console) -> None:
    """Do every run that is not finished, and write down after each what there is."""
    for number, run in enumerate(sweep.runs, start=1):
        title = f"[{number}/{len(sweep.runs)}] {run.variant.title}  seed {run.seed}"
        began_s = time.monotonic()
        if run in outcomes:
            took = "done before"
        else:
            outcomes[run] = _do(sweep, run, title, console)
            took = f"took {time.monotonic() - began_s:.0f} s"
        _write(sweep, list(outcomes.values()))
        line = f"{title}  {_said(outcomes[run])}  {took}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _do(sweep: _Sweep, run: Run, title: str, console: Console) -> Outcome:
    """Do one run, from its beginning."""
    # If the cloud has an unfinished run, it is one of these, and nobody else's.
    unfinished = any(other.unfinished() for other in sweep.runs)
    run.clear()
    with console.status(Text(title), spinner="line") as status:

        def show(closed: int) -> None:
            of = "" if run.rounds is None else f" of {run.rounds}"
            status.update(Text(f"{title}  round {closed}{of}"))

        return execute(run, config=sweep.config, abandon=unfinished, on_round=show)


def _said(outcome: Outcome) -> str:
    report = outcome.report
    if report is None or outcome.error is not None:
        return f"failed: {outcome.error}"
    figures = [
        f"accuracy {100 * report['accuracy']:.1f} %" if report["accuracy"] is not None else "",
        f"loss {report['loss']:.3f}" if report["loss"] is not None else "",
        f"{report['clock']} time {report['seconds']:.1f} s",
    ]
    return "  ".join(figure for figure in figures if figure)


def _write(sweep: _Sweep, outcomes: Sequence[Outcome]) -> None:
    rows = rows_of(outcomes)
    document = document_of(rows, federation=sweep.federation, file=sweep.file, clock=sweep.clock)
    page = sweep_page(rows, federation=sweep.federation, clock=sweep.clock)
    write_durably(sweep.directory / "sweep.html", page.encode())
    write_durably(sweep.directory / "sweep.json", json_text(document))


def _show(sweep: _Sweep, outcomes: Sequence[Outcome], console: Console) -> None:
    table = sweep_table(rows_of(outcomes), console)
    if table.row_count:
        console.print()
        print_table(console, table)
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if failed:
        console.print(f"\n{counted(len(failed), 'run')} failed:")
    for one in failed:
        line = f"  {one.run.variant.title}, seed {one.run.seed}: {one.error}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"\n{len(outcomes)} of {counted(len(sweep.runs), 'run')} done. Everything about them is in "
        f"[bold]{escape(str(sweep.directory))}[/bold]",
        highlight=False,
        soft_wrap=True,
    )
