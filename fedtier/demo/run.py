"""``fedtier demo``: start a federation on this machine, watch it train, show what came of it."""

from __future__ import annotations

import json
import signal
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from fedtier.artefact.find import find_artefact
from fedtier.broker.process import check_embedded, find_mosquitto
from fedtier.broker.settings import BrokerKind
from fedtier.config.federation import Federation, load_federation
from fedtier.config.files import read_text
from fedtier.config.named import check_named
from fedtier.demo.fleet import Fleet
from fedtier.demo.node_logs import NodeLogs
from fedtier.errors import (
    EXIT_BUG,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    EXIT_UNTRAINED,
    ConfigError,
)
from fedtier.ids import NodeId
from fedtier.render.node_files import render_node_files
from fedtier.show.progress import Progress
from fedtier.show.screen import Screen, rounds_to_show
from fedtier.show.summary import print_summary
from fedtier.storage.durable import storage_error, write_durably
from fedtier.storage.new_files import check_unused, fresh_directory
from fedtier.words import counted

_DEFAULT_FEDERATION = "wearables-3-tier.toml"
_COPY = "federation.toml"  # of the file, in the run directory
_FINISHED = (EXIT_DONE, EXIT_UNTRAINED)  # of a cloud that has written its run directory
_POLL_S = 0.1
_RUNS = Path("runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    federation: Federation
    text: str  # of its file
    file: Path
    out: Path
    rounds: int | None  # None where that follows from what is measured
    options: tuple[str, ...]  # for the cloud
    broker: BrokerKind


def main(
    *,
    out: Path | None,
    rounds: int | None,
    seed: int | None,
    pilot: int | None,
    broker: str | None,
    federation: Path | None,
    reference: bool,
) -> int:
    """Run the demo.

    Args:
        out: The run directory; a new one below ``runs/`` by default.
        rounds: In place of the federation file's.
        seed: In place of the federation file's.
        pilot: Rounds at the beginning in which the federation is measured; None for none.
        broker: ``embedded`` or ``mosquitto``; mosquitto where it is installed by default.
        federation: A federation file; sixteen smartwatches by default.
        reference: Also train in one process, and each device alone, and compare.

    Returns:
        The exit code: 0, 65 where nobody trained, 130 after Ctrl-C, 143 after SIGTERM, or that of
        the node that died.
    """
    signal.signal(signal.SIGTERM, _leave)
    console = Console()
    request = _prepare(
        out=out,
        rounds=rounds,
        seed=seed,
        pilot=pilot,
        broker=broker,
        federation=federation,
        reference=reference,
    )
    _make_run_directory(request)
    began_s = time.monotonic()
    try:
        code, untrained = _train(request, console)
    except (KeyboardInterrupt, _Terminated) as reason:
        console.print(f"\nstopped; the logs are in {request.out / 'logs'}", soft_wrap=True)
        return EXIT_TERMINATED if isinstance(reason, _Terminated) else EXIT_INTERRUPTED
    if code not in _FINISHED:
        return code
    report = json.loads((request.out / "report.json").read_bytes())
    dimension = find_artefact(request.federation.artefact).layout.dimension
    print_summary(console, report, dimension=dimension, untrained=untrained)
    if reference and code != EXIT_DONE:
        console.print("no references: there is nothing to compare with them")
    elif reference:
        from fedtier.demo.reference import compare

        compare(console, request.federation, report, directory=request.out)
    seconds = time.monotonic() - began_s
    console.print(
        f"{seconds:.0f} s. Everything about this run is in [bold]{request.out}[/bold]",
        soft_wrap=True,
    )
    return code


class _Terminated(BaseException):
    """SIGTERM: unwinds the stack as Ctrl-C does, so that every process is stopped."""


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated


def _prepare(
    *,
    out: Path | None,
    rounds: int | None,
    seed: int | None,
    pilot: int | None,
    broker: str | None,
    federation: Path | None,
    reference: bool,
) -> _Request:
    """Refuse what cannot be, before anything is made."""
    if reference and pilot:
        raise ConfigError(
            "--reference compares with as many local steps as rounds and tau make, and a pilot's "
            "rounds have fewer. Leave one of the two out."
        )
    kind = _broker_kind(broker)
    directory = (out or fresh_directory(_RUNS, "demo")).resolve()
    check_unused(directory, called=f"--out {directory}")
    with _federation_file(federation) as path:
        loaded = load_federation(path)
        text = read_text(path)
    if reference and loaded.plan.auto is not None:
        raise ConfigError(
            "--reference compares with as many local steps as rounds and tau make, and of a run "
            'with tau = "auto" these are not known before it. Leave the option out.'
        )
    if reference and loaded.evaluation is None:
        raise ConfigError(
            f"--reference compares on held-out data, and {loaded.where} has none. Add "
            "[evaluation], or leave the option out."
        )
    check_named(loaded, where=loaded.where, all_here=True)
    manifest = find_artefact(loaded.artefact).manifest
    if reference and not manifest.loss.judged:
        raise ConfigError(
            f"--reference compares accuracies, and {manifest.name}, which is trained by "
            f"{manifest.loss.kind}, has none. Leave the option out."
        )
    options: list[str] = []
    if rounds is not None:
        options += ["--rounds", str(rounds)]
    if seed is not None:
        options += ["--seed", str(seed)]
    if pilot is not None:
        options += ["--pilot", str(pilot)]
    return _Request(
        federation=loaded,
        text=text,
        file=federation.absolute() if federation is not None else directory / _COPY,
        out=directory,
        rounds=rounds_to_show(loaded, rounds),
        options=tuple(options),
        broker=kind,
    )


def _federation_file(given: Path | None) -> AbstractContextManager[Path]:
    if given is not None:
        return nullcontext(given)
    return as_file(files("firmware_configs") / "federations" / _DEFAULT_FEDERATION)


def _make_run_directory(request: _Request) -> None:
    try:
        request.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(request.out, "made", error) from error
    write_durably(request.out / _COPY, request.text.encode())


def _broker_kind(wanted: str | None) -> BrokerKind:
    if wanted == "embedded":
        check_embedded()
        return "embedded"
    try:
        find_mosquitto()
    except ConfigError:
        if wanted is not None:
            raise
        check_embedded()
        return "embedded"
    return "mosquitto"


def _train(request: _Request, console: Console) -> tuple[int, dict[NodeId, str]]:
    """The exit code, and why devices never trained that did not."""
    federation = request.federation
    title = (
        f"{counted(len(federation.topology.devices()), 'device')}, "
        f"{counted(len(federation.topology.parents()), f'{request.broker} broker')}, "
        f"every node a process of its own"
    )
    topology = federation.topology
    with (
        Fleet(topology, request.out) as fleet,
        Screen(console, topology, rounds=request.rounds, title=title) as screen,
    ):
        screen.say(f"starting {counted(len(topology.parents()), 'broker')}")
        urls = fleet.start_brokers(request.broker, part_bytes=federation.plan.part_bytes)
        texts = render_node_files(
            federation,
            directory=request.out,
            federation_file=request.file,
            broker_urls=urls,
            broker_kind="url",
            run_dir=request.out,
        )
        screen.say(f"starting {counted(len(texts), 'node')}")
        for node, text in texts.items():
            write_durably(request.out / "nodes" / f"{node}.toml", text.encode())
            fleet.start_node(node, *(request.options if node == topology.cloud else ()))
        logs = NodeLogs(topology, {n: process.log_path for n, process in fleet.nodes.items()})
        code = _watch(fleet, logs, request, screen, console)
        if code in _FINISHED:
            fleet.stop()  # each tells the kernel's last word on what it used
            _add_nodes(request, fleet)
            logs.listen()
        return code, logs.untrained()


def _watch(
    fleet: Fleet, logs: NodeLogs, request: _Request, screen: Screen, console: Console
) -> int:
    """Until the cloud is done, or something has died."""
    cloud = request.federation.topology.cloud
    progress = Progress(request.out / "metrics.jsonl")
    while True:
        fresh = progress.look()
        logs.listen()
        if not progress.rows:
            screen.show_up(logs.connected)
        screen.show_rounds(fresh)
        screen.show_waiting(logs.waiting())
        for node, process in fleet.nodes.items():
            ended = process.poll()
            if ended is None:
                continue
            if node == cloud and ended.exit_code in _FINISHED:
                screen.show_rounds(progress.look())
                return ended.exit_code
            console.print(
                f"\n[red]{node} {ended.how}.[/red] The last lines of {process.log_path}:\n",
                soft_wrap=True,
            )
            console.print(process.log_tail(), markup=False, highlight=False, soft_wrap=True)
            return ended.exit_code if ended.exit_code > 0 else EXIT_BUG
        dead = fleet.dead_broker()
        if dead is not None:
            name, broker = dead
            console.print(
                f"\n[red]the broker of {name} ended.[/red] Its log: {broker.log_path}",
                soft_wrap=True,
            )
            console.print(broker.log_tail(), markup=False, highlight=False, soft_wrap=True)
            return EXIT_BUG
        time.sleep(_POLL_S)


def _add_nodes(request: _Request, fleet: Fleet) -> None:
    """Write into the report what the kernel says of every process."""
    path = request.out / "report.json"
    report: dict[str, Any] = json.loads(path.read_bytes())
    topology = request.federation.topology
    report["nodes"] = [
        {
            "id": node,
            "tier": topology.node(node).tier,
            "peak_rss_bytes": process.peak_rss_bytes,
            "cpu_seconds": round(process.ended.cpu_seconds, 3) if process.ended else None,
        }
        for node, process in sorted(fleet.nodes.items())
    ]
    write_durably(path, (json.dumps(report, indent=2) + "\n").encode())
