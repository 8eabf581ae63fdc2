"""A plan for people: what was chosen and why, in words and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from fedtier.config.toml_text import write_value
from fedtier.show.summary import plain_table, print_table

Document = Mapping[str, Any]


def print_plan(document: Document, *, auto: bool) -> None:
    """Print a plan.

    Args:
        document: Of ``fedtier.planner.document``.
        auto: Whether the federation file has ``tau = "auto"``.
    """
    console = Console(highlight=False)
    for line in _reason(document):
        console.print(line, markup=False, soft_wrap=True)
    for table in (
        _links(document), _budgets(document), _terms(document), _alternatives(document),
    ):  # fmt: skip
        if table.row_count:
            console.print()
            print_table(console, table)
    console.print()
    for line in _guarantee(document):
        console.print(line, markup=False, soft_wrap=True)
    place = ', in place of tau = "auto" and of [plan.auto]' if auto else ""
    console.print(f"\nFor the federation file{place}:\n", markup=False)
    for line in _toml(document):
        console.print(f"  {line}", markup=False, soft_wrap=True)


def _reason(document: Document) -> Iterator[str]:
    forecast, start_s = document["forecast"], document["start_s"]
    yield (
        f"tau = {document['tau']}, mu = {document['mu']:.4g} ({document['schedule']}): "
        f"{document['rounds']} rounds of {document['round_s']:.4g} s in "
        f"{document['deadline_s']:.6g} s"
        + (f", of which up to {start_s:.3g} s pass before the first" if start_s else "")
    )
    yield (
        f"forecast: a mean training loss of {forecast['loss']:.3f}, "
        f"from {forecast['loss_after_first_round']:.3f} after the pilot's first round"
    )
    if document["mu"] > forecast["mu_tried"]:
        yield (
            f"this mu is above {forecast['mu_tried']:.4g}, the largest with which the pilot's loss "
            "fell: the forecast goes beyond what was tried"
        )
    yield f"what binds: {_bound_by(document)}"


def _bound_by(document: Document) -> str:
    what = document["binds"]
    if what == "budget":
        return "a link's budget; without budgets another plan would be chosen"
    if what == "airtime":
        return "a link's rate and share of airtime, which make a round longer"
    if what == "local steps":
        return "the deadline; most of a round's time is local steps"
    return f"the deadline; most of a round's time is messages on {what}"


def _links(document: Document) -> Table:
    table = plain_table(
        "A round, for one child of each link",
        "link", "quantizer", "q", "times", "s", "kB up", "kB down",
    )  # fmt: skip
    for row in document["links"]:
        inside = ",".join(f"{name}={value}" for name, value in row["parameter"].items())
        table.add_row(
            str(row["link"]),
            f"{row['codec']}({inside})" if inside else row["codec"],
            f"{row['q']:.3g}{'' if row['q_source'] == 'measured' else ' (bound)'}",
            str(row["exchanges_per_round"]),
            f"{row['seconds_per_round']:.3g}",
            f"{row['bytes_up_per_round'] / 1000:.1f}",
            f"{row['bytes_down_per_round'] / 1000:.1f}",
        )
    return table


def _budgets(document: Document) -> Table:
    table = plain_table("Budgets of one child", "link", "budget", "allowed", "this plan")
    for row in document["links"]:
        for name, allowed in row["budget"].items():
            needed = row["needed"][name]
            shown = [str(n) if isinstance(n, int) else f"{n:.4g}" for n in (allowed, needed)]
            table.add_row(str(row["link"]), name, *shown)
    return table


def _terms(document: Document) -> Table:
    table = plain_table("What becomes of the local steps", "term", "reach", "of all")
    terms = document["terms"]["forecast"]
    whole = terms["steps"]
    rows = [("as synchronous SGD without noise", whole)]
    rows += [(f"drift, link {n}", -lost) for n, lost in enumerate(terms["drift"], 1)]
    rows.append(("noise of gradients", -terms["noise"]))
    rows += [(f"quantization, link {n}", -lost) for n, lost in enumerate(terms["quantization"], 1)]
    rows.append(("left", terms["reach"]))
    for name, value in rows:
        table.add_row(name, f"{value:z.3g}", f"{100 * value / whole:z.1f} %")
    return table


def _alternatives(document: Document) -> Table:
    table = plain_table("Beside it", "plan", "tau", "mu", "rounds", "forecast", "worse by")
    best = document["forecast"]["loss"]
    table.add_row(
        "this plan", _counts(document["tau"]), f"{document['mu']:.4g}", str(document["rounds"]),
        f"{best:.3f}", "", style="bold",
    )  # fmt: skip
    for row in document["alternatives"]:
        fits = row["loss"] is not None
        table.add_row(
            row["name"], _counts(row["tau"]), f"{row['mu']:.4g}", str(row["rounds"]),
            f"{row['loss']:.3f}" if fits else "no round fits",
            f"{row['worse_by']:.3f}" if fits else "",
        )  # fmt: skip
    return table


def _counts(tau: object) -> str:
    return str(tau).strip("[]").replace(" ", "")


def _guarantee(document: Document) -> Iterator[str]:
    found = document["guarantee"]
    if found["holds"]:
        yield (
            f"guarantee, if the constants are what the pilot saw: the mean squared gradient norm "
            f"is at most B = {found['B']:.4g}, of the cloud's models at most {found['cloud']:.4g}"
        )
    else:
        yield (
            f"guarantee: not guaranteed at this mu (L mu = {found['L_mu']:.3g}, "
            f"omega = {_number(found['omega'])}, gamma = {_number(found['gamma'])}); that says "
            "nothing against the plan"
        )
        yield "the theorem needs L mu <= 1, omega > 0 and gamma > 0: see docs/theory.md"
    if found["mu_max"] > 0:
        yield f"for this tau the theorem holds up to mu = {found['mu_max']:.3g}"
    else:
        yield "for this tau the theorem holds at no mu above 1e-4 / L"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _toml(document: Document) -> Iterator[str]:
    yield "[plan]"
    yield f"rounds = {document['rounds']}"
    yield f"tau = {write_value(document['tau'])}"
    yield "[plan.schedule]"
    yield f"mu = {document['mu']:.6g}"
