"""``fedtier probe``: every measurement within the time that was given, then what came of it."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from edge_agent.energy import EnergyMeter
from edge_agent.probe.board import this_board
from edge_agent.probe.disk import measure_disk
from edge_agent.probe.findings import UNTIMED, Findings, Missing, NoSteps
from edge_agent.probe.link import measure_link
from edge_agent.probe.profile import one_thread, profile_of
from edge_agent.probe.screen import screen_of
from edge_agent.probe.steps import StepTimes, measure_inference, thread_counts
from edge_agent.probe.sustained import SustainedSteps, Warmth
from fedtier import __version__
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.find import find_artefact
from fedtier.config.node_file import NodeFile, load_node_file
from fedtier.errors import EXIT_DONE
from fedtier.runtime.assembly import credentials_of
from fedtier.runtime.usage import peak_rss_kib
from fedtier.storage.durable import write_durably
from fedtier.transport.address import parse_url
from fedtier.transport.base import ANONYMOUS, Credentials
from fedtier.words import printable

_PACKAGES = ("numpy", "onnxruntime", "paho-mqtt")
_DISK, _LINK, _STEPS, _INFERENCE = 0.05, 0.15, 0.35, 0.05  # of the time; the rest is sustained
_SPARE_S = 0.75  # to end the last process, and to write


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command was asked for."""

    artefact: str
    broker: str | None
    node_file: Path | None
    directory: Path | None
    began_s: float  # on the monotonic clock
    seconds: float
    out: Path | None
    as_json: bool


class _TimeUp(Exception):
    """What is under way would take longer than was given."""


def main(wanted: Wanted) -> int:
    """Probe, print and write; the exit code.

    Raises:
        ConfigError: If artefact, node file or broker cannot be used.
        StorageError: If the disk does not take the file.
    """
    end_s = wanted.began_s + wanted.seconds - _SPARE_S
    artefact = find_artefact(wanted.artefact)
    file = None if wanted.node_file is None else load_node_file(wanted.node_file, role="agent")
    findings = Findings(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        artefact=printable(artefact.manifest.name),
        artefact_digest=artefact.digest,
        batch=artefact.manifest.batch,
        seconds=wanted.seconds,
        versions={"fedtier": __version__, **{name: version(name) for name in _PACKAGES}},
        board=this_board(),
    )
    serves = file is not None and file.inference is not None
    if serves:
        findings.serving_mib = Missing("not measured")
    broker = _broker(wanted, file)
    directory = _directory(wanted, file)
    with _no_longer_than(end_s):
        _measure(
            findings, artefact, directory=directory, broker=broker, end_s=end_s,
            serves=serves,
        )  # fmt: skip
    document = json.dumps(findings.to_json(), indent=2, ensure_ascii=False) + "\n"
    try:
        if wanted.out is not None:
            write_durably(wanted.out, document.encode())
    finally:  # and what the disk does not take is shown at least
        sys.stdout.write(document if wanted.as_json else _for_people(findings))
    return EXIT_DONE


def _measure(
    findings: Findings,
    artefact: Artefact,
    *,
    directory: Path,
    broker: tuple[str | None, Credentials],
    end_s: float,
    serves: bool,
) -> None:
    """Fill in the findings one by one, so that what is there stays when the time is up."""
    began_s = time.monotonic()
    warmth, meter = Warmth(), EnergyMeter()

    def share_s(share: float) -> float:
        return min(end_s, time.monotonic() + share * (end_s - began_s))

    # On one thread first: that is what agents train on.
    findings.steps = [
        NoSteps(lowering=lowering, threads=threads, why=UNTIMED)
        for threads in thread_counts(findings.board.cores)
        for lowering in artefact.manifest.lowerings
    ]
    _say(f"probing for {findings.seconds:g} s: disk ...")
    findings.disk = measure_disk(directory, end_s=share_s(_DISK))
    url, credentials = broker
    if url is None:
        findings.link = Missing("not asked for: give --broker URL, or --config")
    else:
        _say("broker ...")
        findings.link = measure_link(url, credentials=credentials, end_s=share_s(_LINK))
    steps_end_s = share_s(_STEPS)
    for number, case in enumerate(findings.steps):
        left_s = steps_end_s - time.monotonic()
        if left_s <= 0 and number:
            break
        lowering, threads = case.lowering, case.threads
        _say(f"steps by {lowering} on {threads} {'thread' if threads == 1 else 'threads'} ...")
        each_end_s = time.monotonic() + left_s / (len(findings.steps) - number)
        timed = StepTimes(artefact, lowering, threads=threads)
        try:
            timed.measure(end_s=each_end_s)
        finally:
            findings.steps[number] = timed.found()
    findings.agent_mib = peak_rss_kib() / 1024  # before onnxruntime is loaded here, for inference
    _say("inference ...")
    findings.inference = measure_inference(artefact, end_s=share_s(_INFERENCE))
    if serves and not isinstance(findings.inference, Missing):
        findings.serving_mib = peak_rss_kib() / 1024
    _say("steps one after the other ...")
    sustained = SustainedSteps(warmth=warmth, meter=meter)
    try:
        sustained.measure(artefact, end_s=end_s)
    finally:
        findings.sustained = sustained.found()


def _directory(wanted: Wanted, file: NodeFile | None) -> Path:
    if wanted.directory is not None:
        return wanted.directory
    return Path.cwd() if file is None else Path(file.node.state_dir)


def _broker(wanted: Wanted, file: NodeFile | None) -> tuple[str | None, Credentials]:
    """Which broker, and who we are to it: a node's password is for its parent's broker alone."""
    if wanted.broker is not None:
        parse_url(wanted.broker, where="--broker")
        return wanted.broker, ANONYMOUS
    parent = None if file is None else file.parent
    return (None, ANONYMOUS) if parent is None else (parent.url, credentials_of(parent))


def _for_people(findings: Findings) -> str:
    shown = screen_of(findings)
    if one_thread(findings) is None:
        return shown
    return (
        f"{shown}\nA profile to paste, or to keep as a file that `board` names:\n\n"
        + profile_of(findings)
    )


def _say(what: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"{what}\n")


@contextmanager
def _no_longer_than(end_s: float) -> Iterator[None]:
    """Break off what is under way when the time is up, such as a step of many seconds."""

    def time_up(_number: int, _frame: FrameType | None) -> None:
        raise _TimeUp

    before = signal.signal(signal.SIGALRM, time_up)
    try:
        signal.setitimer(signal.ITIMER_REAL, max(0.001, end_s + _SPARE_S / 2 - time.monotonic()))
        yield
    except _TimeUp:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
