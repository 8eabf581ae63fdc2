"""Do one run of a sweep: the command that a person would type, as a process of its own.

So a run that fails, or a bug in it, ends that run and no other; memory is given back; and a run of
a sweep is like any other run, to be repeated by hand.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from fedtier.demo.fleet import NodeProcess, end_all
from fedtier.errors import EXIT_BUG, EXIT_DONE, EXIT_UNTRAINED
from fedtier.ids import NodeId
from fedtier.show.progress import Progress
from fedtier.storage.durable import storage_error, write_durably
from fedtier.sweep.queue import FEDERATION, Run
from fedtier.sweep.results import Outcome

_POLL_S = 0.1
_NOBODY_TRAINED = "nobody trained in any of its rounds"
_ERROR = "error: "  # begins the line with which a command refuses


def execute(
    run: Run, *, config: Path | None, abandon: bool, on_round: Callable[[int], None]
) -> Outcome:
    """Do one run, in a run directory that is not there.

    Args:
        run: Which.
        config: The cloud's node file, for a run on a standing fleet; None = simulate.
        abandon: Whether an unfinished run of that cloud is one of this sweep, to be given up.
        on_round: Is told how many rounds have closed, again and again.

    Raises:
        StorageError: If the disk does not take it.
    """
    file = run.home / FEDERATION
    make_directory(run.home)
    write_durably(file, run.text.encode())
    run.log_path.unlink(missing_ok=True)
    options = ["--out", str(run.directory), "--seed", str(run.seed)]
    if config is None:
        command = ["sim", str(file), *options]
    else:
        make_directory(run.directory)
        write_durably(run.directory / FEDERATION, run.text.encode())
        command = ["cloud", "run", "--config", str(config), "--federation", str(file), *options]
        command += ["--abandon"] if abandon else []
    process = NodeProcess(NodeId("run"), [sys.executable, "-m", "fedtier", *command], run.log_path)
    progress = Progress(run.directory / "metrics.jsonl")
    try:
        while (ended := process.poll()) is None:
            progress.look()
            on_round(len(progress.rows))
            time.sleep(_POLL_S)
    finally:
        end_all([process])
    report = run.report()
    if ended.exit_code in (EXIT_DONE, EXIT_UNTRAINED) and report is not None:
        return finished(run)
    code = ended.exit_code if ended.exit_code > 0 else EXIT_BUG
    return Outcome(run=run, report=None, exit_code=code, error=_why(process, how=ended.how))


def finished(run: Run) -> Outcome:
    """A run whose report is there; one in which nobody trained is an error, too."""
    report = run.report()
    assert report is not None, "a finished run has a report"
    if report["rounds_trained"]:
        return Outcome(run=run, report=report)
    return Outcome(run=run, report=report, exit_code=EXIT_UNTRAINED, error=_NOBODY_TRAINED)


def _why(process: NodeProcess, *, how: str) -> str:
    said = [line for line in process.log_tail().splitlines() if line.startswith(_ERROR)]
    return said[-1].removeprefix(_ERROR) if said else f"{how}; its log is {process.log_path}"


def make_directory(directory: Path) -> None:
    """Make a directory and those above it.

    Raises:
        StorageError: If the disk does not take it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(directory, "made", error) from error
