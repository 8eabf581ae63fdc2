"""What a probe has found, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edge_agent.probe.findings import (
    Disk,
    Energy,
    Findings,
    Inference,
    Link,
    Missing,
    Steps,
    Sustained,
    Temperature,
)
from fedtier.limits import KIB, MIB

_WIDTH = 13  # of the names on the left
_HEADER = ("lowering", "threads", "ms a step", "fastest", "slowest", "peak MiB")


def screen_of(findings: Findings) -> str:
    """All figures as lines of text, up to 80 characters where the machine's own words allow."""
    board = findings.board
    virtual = ", virtual" if board.virtual else ""
    rows = [
        ("board", f"{board.model}{virtual}"),
        ("", f"{board.cores} cores, {board.memory_mib} MiB, {board.architecture}, {board.system}"),
        ("artefact", f"{findings.artefact} {findings.artefact_digest[:12]}, "
                     f"batches of {findings.batch}"),
        ("disk", _disk(findings.disk)),
        *_link(findings.link),
        ("inference", _inference(findings.inference)),
        *_sustained(findings.sustained),
    ]  # fmt: skip
    lines = [f"{name:<{_WIDTH}}{said}" for name, said in rows]
    return "\n".join([*lines, "", *_steps(findings), ""])


def _steps(findings: Findings) -> Iterator[str]:
    table: list[tuple[str, ...]] = [_HEADER]
    for row in findings.steps:
        first = (row.lowering, str(row.threads))
        if isinstance(row, Steps):
            times = (row.median_ms, row.fastest_ms, row.slowest_ms)
            table.append((*first, *(f"{ms:.2f}" for ms in times), f"{row.peak_mib:.0f}"))
        else:
            table.append((*first, row.why, "", "", ""))
    yield "Training steps"
    yield from _aligned(table)
    asked = [row for row in findings.steps if row.threads == 1]
    one = [row for row in asked if isinstance(row, Steps)]
    if len(one) > 1:
        fastest = min(one, key=lambda row: row.median_ms).lowering
        of = "" if len(one) == len(asked) else f"of the {len(one)} timed "
        yield f'On one thread {of}{fastest} is fastest: a plan names it as lowering = "{fastest}".'


def _aligned(table: Sequence[Sequence[str]]) -> Iterator[str]:
    fitting = [row for row in table if row[-1]]  # a reason runs over the columns behind it
    widths = [max(len(row[column]) for row in fitting) for column in range(len(_HEADER))]
    for number, row in enumerate(table):
        first, threads, *rest = row
        cells = [f"{first:<{widths[0]}}", f"{threads:>{widths[1]}}"]
        if row[-1]:
            cells += [f"{cell:>{width}}" for cell, width in zip(rest, widths[2:], strict=True)]
        else:
            cells.append(rest[0])
        yield "  ".join(cells)
        if number == 0:
            yield "─" * (sum(widths) + 2 * (len(widths) - 1))


def _disk(disk: Disk | Missing) -> str:
    if isinstance(disk, Missing):
        return disk.why
    return (
        f"{disk.bytes_per_s / MIB:.1f} MiB/s, {disk.block_bytes // MIB} MiB at a time and forced "
        f"to the disk (slowest {disk.block_slowest_ms:.0f} ms)"
    )


def _link(link: Link | Missing) -> Iterator[tuple[str, str]]:
    if isinstance(link, Missing):
        yield "broker", link.why
        return
    yield (
        "broker",
        f"round trip {link.round_trip_median_ms:.2f} ms "
        f"(slowest of {link.round_trips}: {link.round_trip_slowest_ms:.1f})",
    )
    yield (
        "",
        f"{link.bytes_per_s / MIB:.2f} MiB/s each way, by {link.parts} parts of "
        f"{link.part_bytes // KIB} KiB there and back",
    )


def _inference(inference: Inference | Missing) -> str:
    if isinstance(inference, Missing):
        return inference.why
    return (
        f"{inference.median_ms:.3f} ms for one example "
        f"(slowest of {inference.runs}: {inference.slowest_ms:.2f})"
    )


def _sustained(found: Sustained | Missing) -> Iterator[tuple[str, str]]:
    if isinstance(found, Missing):
        yield "sustained", found.why
        return
    yield (
        "sustained",
        f"{found.steps} steps in {found.seconds:.0f} s on one thread: {found.first_ms:.2f} ms at "
        f"first, {found.last_ms:.2f} at last",
    )
    yield "temperature", _temperature(found.temperature_c)
    yield "energy", _energy(found.energy)


def _temperature(found: Temperature | Missing) -> str:
    if isinstance(found, Missing):
        return found.why
    return (
        f"{found.before:.1f} to {found.end:.1f} °C in {found.seconds:.0f} s ({found.drift:+.1f}), "
        f"at most {found.highest:.1f}"
    )


def _energy(found: Energy | Missing) -> str:
    if isinstance(found, Missing):
        return found.why
    return (
        f"{1e3 * found.joules_per_step:.1f} mJ a step, {found.watts:.2f} W, by {found.source}: all "
        "that it counts"
    )
