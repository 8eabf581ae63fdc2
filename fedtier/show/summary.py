"""The tables at the end: links, processes, accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedtier.ids import NodeId
from fedtier.show.page import PILOT_ON_LINKS

# Nodes in one row of the table of processes, by the longest name: all fit into 80 characters.
_ACROSS = ((10, 3), (20, 2))
_UNTRAINED_SHOWN = 8
_LINE_MAX = 1000  # characters


def print_summary(
    console: Console,
    report: Mapping[str, Any],
    *,
    dimension: int,
    untrained: Mapping[NodeId, str],
) -> None:
    """Print what a person wants to know of a finished run.

    Args:
        console: Where to.
        report: The document of ``report.json``.
        dimension: d, for the float32 yardstick of 4 d bytes per update.
        untrained: The devices that never trained, each with why.
    """
    _print_plans(console, report["plans"])
    for table in (
        _links(report, dimension=dimension),
        _abstentions(report["links"]),
        _time(report) if report["clock"] == "virtual" else _processes(report["nodes"]),
        _quality(report),
        _rollout(report["rollout"]),
    ):
        if table.row_count:
            console.print()
            print_table(console, table)
    for line in [*_never_trained(untrained), *_why_not(report)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print()


def plain_table(title: str, *columns: str) -> Table:
    """A table as all of the demo's are; the first column and names are set to the left."""
    # Without a frame, and two spaces between columns, all of them fit into 80 characters.
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        header_style="dim",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for index, column in enumerate(columns):
        left = index == 0 or column in ("quantizer", "node", "digest")
        table.add_column(column, justify="left" if left else "right", no_wrap=True)
    return table


def print_table(console: Console, table: Table) -> None:
    """Print a table without the blanks that fill its lines up, which would be copied with it.

    A line that is longer than the terminal is wide goes on in the next; no figure is cut off.
    """
    wide = console.options.update_width(max(console.width, _LINE_MAX))
    for line in console.render_lines(table, wide, pad=False):
        text = Text.assemble(*((segment.text, segment.style or "") for segment in line))
        text.rstrip()
        console.print(text, soft_wrap=True)


def _print_plans(console: Console, plans: Sequence[Mapping[str, Any]]) -> None:
    """Print how a run that planned itself decided to go on, and why."""
    if not plans:
        return
    table = plain_table("Plans", "after round", "s", "tau", "mu", "s a round", "rounds in all")
    for row in plans:
        table.add_row(
            str(row["after_round"]), f"{row['seconds']:.1f}", ",".join(map(str, row["tau"])),
            f"{row['mu']:.3g}", f"{row['round_s']:.2f}", str(row["rounds"]),
        )  # fmt: skip
    console.print()
    print_table(console, table)
    for row in plans:
        line = f"after round {row['after_round']}: {row['reason']}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _links(report: Mapping[str, Any], *, dimension: int) -> Table:
    table = plain_table(
        "Links", "link", "quantizer", "updates", "MB up", "MB down", "float32/up", "mean q"
    )
    if report["pilot"]:
        table.caption = PILOT_ON_LINKS
    for row in report["links"]:
        float32 = 4 * dimension * row["deltas"]
        ratio = f"{float32 / row['bytes_up']:.1f} x" if float32 and row["bytes_up"] else "–"
        q = f"{row['q_mean']:.4f}" if row["q_mean"] is not None else "–"
        table.add_row(
            str(row["link"]), row["quantizer"], str(row["updates"]),
            f"{row['bytes_up'] / 1e6:.2f}", f"{row['bytes_down'] / 1e6:.2f}", ratio, q,
        )  # fmt: skip
    return table


def _abstentions(links: Sequence[Mapping[str, Any]]) -> Table:
    table = plain_table("Abstentions", "link", "abstained", "deltas")
    for row in links:
        if row["abstained"]:
            table.add_row(str(row["link"]), str(row["abstained"]), str(row["deltas"]))
    return table


def _never_trained(untrained: Mapping[NodeId, str]) -> list[str]:
    """The devices the model has learnt nothing from: no figure above is of them."""
    if not untrained:
        return []
    lines = [f"{device} never trained: {why}" for device, why in untrained.items()]
    more = len(lines) - _UNTRAINED_SHOWN
    return [
        "",
        *lines[:_UNTRAINED_SHOWN],
        *([f"... and {more} more never did"] if more > 0 else []),
    ]


def _why_not(report: Mapping[str, Any]) -> list[str]:
    """Rounds in which nobody trained, and why children of the cloud abstained, if any did."""
    rounds, trained = report["rounds"], report["rounds_trained"]
    lines = []
    if not trained:
        lines += [
            "",
            f"Nobody trained in any of the {rounds} rounds: the model is the initial one.",
        ]
    elif trained < rounds:
        lines += ["", f"In {rounds - trained} of {rounds} rounds nobody trained."]
    if report["reasons"]:
        lines += ["", "The cloud was last told of these reasons to abstain:"]
        lines += [f"  {row['node']}: {row['reason']}" for row in report["reasons"]]
    return lines


def _processes(nodes: Sequence[Mapping[str, Any]]) -> Table:
    longest = max((len(node["id"]) for node in nodes), default=0)
    across = next((n for length, n in _ACROSS if longest <= length), 1)
    table = plain_table(
        "Processes: largest memory and processor time", "tier", *across * ("node", "MiB", "CPU s")
    )
    for tier in sorted({node["tier"] for node in nodes}, reverse=True):
        here = [node for node in nodes if node["tier"] == tier]
        for start in range(0, len(here), across):
            cells = [cell for node in here[start : start + across] for cell in _cells(node)]
            table.add_row(str(tier) if start == 0 else "", *cells)
    table.add_section()
    table.add_row("all", "", "", f"{sum(map(_cpu, nodes)):.1f}")
    return table


def _time(report: Mapping[str, Any]) -> Table:
    """How much of a simulated run the nodes of each tier worked."""
    table = plain_table(
        f"Virtual time: {report['seconds']:.1f} s", "tier", "nodes", "mean work s", "longest"
    )
    for row in reversed(report["tiers_usage"]):
        cells = (row["count"], f"{row['cpu_seconds_mean']:.1f}", f"{row['cpu_seconds_max']:.1f}")
        table.add_row(str(row["tier"]), *map(str, cells))
    return table


def _cells(node: Mapping[str, Any]) -> tuple[str, str, str]:
    return node["id"], f"{node['peak_rss_bytes'] / 2**20:.0f}", _seconds(node)


def _cpu(node: Mapping[str, Any]) -> float:
    return node["cpu_seconds"] or 0.0  # unknown of a process that did not end in time


def _seconds(node: Mapping[str, Any]) -> str:
    return "–" if node["cpu_seconds"] is None else f"{node['cpu_seconds']:.1f}"


def _quality(report: Mapping[str, Any]) -> Table:
    """Its accuracy; of a model that has none, its loss."""
    judged = report["accuracy"] is not None or report["accuracy_devices"]["mean"] is not None
    lost = report["loss"] is not None or report["loss_devices"] is not None
    return _loss(report) if lost and not judged else _accuracy(report)


def _loss(report: Mapping[str, Any]) -> Table:
    table = plain_table("Loss of the last round's model", "on", "loss")
    rows = {"held-out data": report["loss"], "the devices' own hold-outs": report["loss_devices"]}
    for name, loss in rows.items():
        if loss is not None:
            table.add_row(name, f"{loss:.4g}")
    return table


def _accuracy(report: Mapping[str, Any]) -> Table:
    table = plain_table("Accuracy of the last round's model", "on", "accuracy")
    devices, worst = report["accuracy_devices"], report["accuracy_held_out_worst"]
    if report["accuracy"] is not None:
        table.add_row("held-out data", _percent(report["accuracy"]))
        table.add_row(f"  its worst group ({worst['group']})", _percent(worst["accuracy"]))
    table.add_row("the devices' own hold-outs", _percent(devices["mean"]))
    table.add_row("  10th percentile of the devices", _percent(devices["p10"]))
    if devices["worst"] is not None:
        name = f"  the worst device ({devices['worst']['node']})"
        table.add_row(name, _percent(devices["worst"]["accuracy"]))
    return table


def _rollout(rollout: Sequence[Mapping[str, Any]]) -> Table:
    """What the devices' applications are served; empty where no device serves anything."""
    table = plain_table(
        "Roll-out of the newest models to devices", "model of round", "digest", "accepted by",
        "refused by",
    )  # fmt: skip
    for row in reversed(rollout):
        cells = (str(row["round"]), row["model"], str(row["accepted"]), str(row["refused"]))
        table.add_row(*cells, style="red" if row["refused"] else None)
    return table


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
