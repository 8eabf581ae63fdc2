"""A board's profile as measured, in the form of those in ``firmware_configs/boards``."""

from __future__ import annotations

import re

from edge_agent.probe.findings import Findings, Missing, Steps, Temperature
from fedtier.config.board import BoardTable, parse_board
from fedtier.config.schema import keys_of
from fedtier.config.toml_text import write_value

_BUDGET_STEP_MIB = 32
_NAME_CHARACTERS_MAX = 40
_NICE = 5  # as the shipped profiles have it


def profile_of(findings: Findings) -> str:
    """The profile's text; a node file's ``board`` may name a file that holds it.

    Args:
        findings: Of a probe that could time steps on one thread.
    """
    steps = one_thread(findings)
    assert steps is not None, "a profile takes steps that were timed"
    board = findings.board
    keys = [
        ("threads", 1, _threads_comment(findings, steps)),
        ("batch_max", findings.batch, "what was tried; more may do"),
        (
            "memory_budget_mib",
            _budget_mib(findings),
            _budget_comment(findings),
        ),
        ("nice", _NICE, ""),
    ]
    width = max(len(name) for name, _, _ in keys)
    where = " in a virtual machine" if board.virtual else ""
    lines = [
        f"# Measured{where} by `fedtier probe` on {findings.date}, with {findings.artefact}.",
        f"name        = {write_value(_name(board.model))}",
        f"description = {write_value(_description(findings))}",
        "measured    = true",
        "",
        "[board]",
        *(_line(name, value, comment, width=width) for name, value, comment in keys),
    ]
    warmth = _warmth(findings)
    if warmth:
        lines.append(f"# {warmth}")
    text = "\n".join(lines) + "\n"
    parse_board(text, where="the profile")
    return text


def _line(name: str, value: int, comment: str, *, width: int) -> str:
    """A key; one that no profile may have so large is left out, and the agent knows no limit."""
    most = next(key.info.maximum for key in keys_of(BoardTable) if key.name == name)
    if most is not None and value > most:
        return f"# {name}: {value}, and a profile may say {most} at most. Without it: no limit."
    line = f"{name:<{width}} = {value}"
    return f"{line:<{width + 9}} # {comment}" if comment else line


def one_thread(findings: Findings) -> Steps | None:
    """The artefact's first lowering on one thread, as agents train by default."""
    return next((row for row in findings.timed if row.threads == 1), None)


def _threads_comment(findings: Findings, one: Steps) -> str:
    """What more threads bring the same lowering, of those numbers that were timed."""
    said = f"{one.median_ms:.2f} ms a step"
    if not any(row.threads > 1 for row in findings.steps):
        return said  # there is but one core
    more = [r for r in findings.timed if r.threads > 1 and r.lowering == one.lowering]
    if not more:
        return f"{said}; more threads: not measured"
    fastest = min(more, key=lambda row: row.median_ms)
    if fastest.median_ms < one.median_ms:
        return f"{said}; {fastest.threads} threads: {fastest.median_ms:.2f}, no longer bit-exact"
    return f"{said}; {' or '.join(str(row.threads) for row in more)} threads are no faster"


def _budget_mib(findings: Findings) -> int:
    held_mib = findings.agent_mib + _peak_mib(findings)
    if isinstance(findings.serving_mib, float):
        held_mib += findings.serving_mib
    return _BUDGET_STEP_MIB * (1 + int(held_mib // _BUDGET_STEP_MIB))


def _budget_comment(findings: Findings) -> str:
    this, graph = f"this process {findings.agent_mib:.0f}", f"process {_peak_mib(findings):.0f}"
    if findings.serving_mib is None:
        return f"{this} and graph {graph} at their peaks"
    if isinstance(findings.serving_mib, Missing):
        return f"{this} and graph {graph} at their peaks; serving: {findings.serving_mib.why}"
    return f"{this}, graph {graph} and serving {findings.serving_mib:.0f} at their peaks"


def _peak_mib(findings: Findings) -> float:
    return max(row.peak_mib for row in findings.timed)


def _warmth(findings: Findings) -> str:
    temperature = getattr(findings.sustained, "temperature_c", None)
    if not isinstance(temperature, Temperature):
        return ""
    return (
        f"The hottest zone reached {temperature.highest:.0f} °C: see temperature_max_c for a limit."
    )


def _description(findings: Findings) -> str:
    board = findings.board
    kind = ", virtual" if board.virtual else ""
    return f"{board.model}: {board.cores} cores, {board.memory_mib} MiB, {board.architecture}{kind}"


def _name(model: str) -> str:
    """The model in the letters of a profile's name: ``raspberry-pi-4-model-b-rev-1-4``."""
    name = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    return name[:_NAME_CHARACTERS_MAX].strip("-") or "board"
