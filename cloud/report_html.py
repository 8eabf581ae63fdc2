"""The run's report as one page without scripts: figures, and two plots as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from fedtier.show.axis import Axis
from fedtier.show.line_plot import Series, line_plot
from fedtier.show.page import PILOT_ON_LINKS, page

_SECONDS = {"virtual": "virtual seconds", "wall": "seconds"}


def report_page(report: Mapping[str, Any], rounds: Sequence[Mapping[str, Any]]) -> str:
    """The page.

    Args:
        report: The document of ``report.json``.
        rounds: The lines of ``metrics.jsonl``.
    """
    devices = report["accuracy_devices"]
    cards = [
        ("held-out accuracy", _percent(report["accuracy"])),
        ("held-out loss", _number(report["loss"], 3)),
        ("devices' own, loss", _number(report["loss_devices"], 3)),
        *_worst("worst held-out group", report["accuracy_held_out_worst"], "group"),
        ("devices' own, mean", _percent(devices["mean"])),
        ("devices' own, 10th percentile", _percent(devices["p10"])),
        *_worst("worst device", devices["worst"], "node"),
        (_SECONDS[report["clock"]], _number(report["seconds"], 1)),
    ]
    accuracy, loss = _curve(rounds, "accuracy", scale=100), _curve(rounds, "loss")
    parts = [
        f"<h1>{escape(report['federation'])}</h1>",
        f"<p class=sub>run {report['run']} · {report['tiers']} tiers, {report['devices']} devices, "
        f"{report['rounds']} rounds, tau = {report['tau']}, seed {report['seed']}"
        f"<br>ended {report['ended']} · fedtier {report['versions']['fedtier']}</p>",
        _why_not(report),
        "<div class=cards>",
        *(
            f"<div class=card><b>{value}</b><span>{escape(name)}</span></div>"
            for name, value in cards
        ),
        "</div>",
        _plot(
            "Held-out accuracy after each round",
            accuracy,
            y=Axis(title="held-out accuracy, %", low=0, high=100),
        ),
        _plot("Held-out loss after each round", loss, y=Axis(title="held-out loss", low=0)),
        _plans(report["plans"]),
        _links(report["links"], pilot=bool(report["pilot"])),
        _rollout(report["rollout"]),
        _tiers(report),
        f"<h2>Model</h2><p><code>{report['model_digest']}</code></p>",
    ]
    return page(f"{report['federation']}: run {report['run']}", parts)


def _why_not(report: Mapping[str, Any]) -> str:
    """Rounds in which nobody trained, and why children of the cloud abstained, if any did."""
    rounds, trained = report["rounds"], report["rounds_trained"]
    lines = [f"{row['node']}: {row['reason']}" for row in report["reasons"]]
    if lines:
        lines.insert(0, "The cloud was last told of these reasons to abstain:")
    if not trained:
        lines.insert(
            0, f"Nobody trained in any of the {rounds} rounds: the model is the initial one."
        )
    elif trained < rounds:
        lines.insert(0, f"In {rounds - trained} of {rounds} rounds nobody trained.")
    return f"<p class=warning>{'<br>'.join(map(escape, lines))}</p>" if lines else ""


def _curve(rounds: Sequence[Mapping[str, Any]], key: str, *, scale: float = 1.0) -> Series:
    """A figure after each round in which there was one."""
    found = [(row["round"] + 1, scale * row[key]) for row in rounds if row.get(key) is not None]
    return Series(name=key, points=found)


def _plot(title: str, curve: Series, *, y: Axis) -> str:
    if len(curve.points) < 2:
        return ""
    return line_plot(title, [curve], x=Axis(title="round", low=0), y=y)


def _worst(name: str, worst: Mapping[str, Any] | None, key: str) -> list[tuple[str, str]]:
    if worst is None:
        return []
    return [(f"{name}: {worst[key]}", _percent(worst["accuracy"]))]


def _links(links: Sequence[Mapping[str, Any]], *, pilot: bool) -> str:
    head = "".join(
        f"<th>{name}</th>"
        for name in (
            "link",
            "quantizer",
            "updates",
            "abstained",
            "MB up",
            "MB down",
            "mean q",
            "seconds/update, mean",
            "late",
        )
    )
    rows = "".join(
        f"<tr><td>{r['link']}</td><td>{escape(r['quantizer'])}</td><td>{r['updates']}</td>"
        f"<td>{r['abstained']}</td>"
        f"<td>{r['bytes_up'] / 1e6:.2f}</td><td>{r['bytes_down'] / 1e6:.2f}</td>"
        f"<td>{_number(r['q_mean'], 4)}</td><td>{_number(r['seconds_mean'], 3)}</td>"
        f"<td>{r['late']}</td></tr>"
        for r in links
    )
    note = f"<p class=sub>{PILOT_ON_LINKS}</p>" if pilot else ""
    return f"<h2>Links</h2><div class=wide><table><tr>{head}</tr>{rows}</table></div>{note}"


def _plans(plans: Sequence[Mapping[str, Any]]) -> str:
    """How a run that planned itself decided to go on."""
    if not plans:
        return ""
    rows = "".join(
        f"<tr><td>{row['after_round']}</td><td>{row['seconds']:.1f}</td>"
        f"<td>{','.join(map(str, row['tau']))}</td><td>{row['mu']:.3g}</td>"
        f"<td>{row['round_s']:.2f}</td><td class=words>{escape(row['reason'])}</td></tr>"
        for row in plans
    )
    return (
        "<h2>Plans</h2><table><tr><th>after round</th><th>seconds</th><th>tau</th><th>mu</th>"
        f"<th>seconds a round</th><th class=words>why</th></tr>{rows}</table>"
    )


def _rollout(rollout: Sequence[Mapping[str, Any]]) -> str:
    """How many devices serve each of the newest models; nothing where none serves any."""
    if not rollout:
        return ""
    names = ("model of round", "digest", "accepted by devices", "refused by devices")
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = "".join(
        f"<tr><td>{r['round']}</td><td><code>{escape(r['model'])}</code></td>"
        f"<td>{r['accepted']}</td><td>{r['refused']}</td></tr>"
        for r in reversed(rollout)
    )
    return f"<h2>Roll-out</h2><table><tr>{head}</tr>{rows}</table>"


def _tiers(report: Mapping[str, Any]) -> str:
    """What the processes of each tier used; of a simulated run, how much its nodes worked."""
    if report["clock"] == "virtual":
        title, names = f"Virtual time: {report['seconds']:.1f} s", ("mean work s", "longest")
        shown = ("cpu_seconds_mean", "cpu_seconds_max")
    else:
        title, names = "Processes", ("peak MiB, largest", "CPU s, mean")
        shown = ("peak_rss_bytes_max", "cpu_seconds_mean")
    head = "".join(f"<th>{name}</th>" for name in ("tier", "nodes", *names))
    rows = "".join(
        f"<tr><td>{t['tier']}</td><td>{t['count']}</td>"
        f"{''.join(f'<td>{_used(t, key)}</td>' for key in shown)}</tr>"
        for t in report["tiers_usage"]
    )
    return f"<h2>{title}</h2><table><tr>{head}</tr>{rows}</table>"


def _used(tier: Mapping[str, Any], key: str) -> str:
    value = tier[key]
    if key == "peak_rss_bytes_max":
        return _number(value and value / 2**20, 0)
    return _number(value, 1)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
