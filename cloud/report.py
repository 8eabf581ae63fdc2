"""The run directory: what a run leaves behind for people and programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import machine, python_version
from typing import Any

from safetensors.numpy import save

from cloud.evaluation import HeldOutScore
from cloud.model_file import MODEL_FILE, model_document
from cloud.report_html import report_page
from fedtier import __version__
from fedtier.artefact.artefact import Artefact
from fedtier.core.effects import Reasons
from fedtier.core.figures import Q_UNITS_PER_ONE, Figures, LinkFigures, Scores
from fedtier.core.rollout import Rollout
from fedtier.ids import FederationId, RunId, hex64
from fedtier.model.layout import Vector
from fedtier.quantize.registry import make_codec
from fedtier.runtime.host import Clock
from fedtier.storage.durable import write_durably
from fedtier.wire.plan import Plan

_PACKAGES = ("numpy", "onnxruntime", "paho-mqtt")
_REASONS_MAX = 8
"""A cloud may have thousands of children, and they seldom have more than one reason."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunResult:
    """All that is known when a run has ended."""

    federation: FederationId
    run: RunId
    plan: Plan
    devices: int
    rounds_trained: int  # rounds in which a member came
    seconds: float
    clock: Clock  # what they are of
    held_out: HeldOutScore | None
    figures: Figures
    links: Sequence[Mapping[str, Any]]  # as ``link_rows`` has them
    nodes: Sequence[Mapping[str, Any]]  # what single nodes used, where that is known
    model: Vector
    model_digest: str
    artefact: Artefact
    rounds: Sequence[Mapping[str, Any]]  # the lines of metrics.jsonl
    plans: Sequence[Mapping[str, Any]] = ()  # those of plans.jsonl, if the run planned itself

    @property
    def reasons(self) -> list[dict[str, str]]:
        """Those of the last round in which a child of the cloud abstained, as far as is known."""
        return next((row["reasons"] for row in reversed(self.rounds) if row["reasons"]), [])


def reason_rows(reasons: Reasons) -> list[dict[str, str]]:
    """Why children of the cloud abstained, the first few by name."""
    return [{"node": node, "reason": reason} for node, reason in reasons[:_REASONS_MAX]]


def link_rows(plan: Plan, figures: Figures) -> list[dict[str, Any]]:
    """One row per link, as the report and the summary show it.

    Args:
        plan: Of the run.
        figures: Of the whole tree.
    """
    rows = []
    for link in range(1, plan.tiers + 1):
        f = figures.links.get(link, LinkFigures())
        rows.append(
            {
                "link": link,
                "quantizer": _codec_text(plan, link),
                "updates": f.updates,
                "deltas": f.deltas,
                "abstained": f.abstained,
                "duplicates": f.duplicates,
                "late": f.late,
                "lost": f.lost,
                "bytes_up": f.bytes_up,
                "bytes_down": f.bytes_down,
                "q_mean": _q_mean(f),
                "seconds_mean": f.micros / 1e6 / f.updates if f.updates else None,
            }
        )
    return rows


def _q_mean(link: LinkFigures) -> float | None:
    """Of the deltas that were quantized; 0 where all came as they were, None where none came."""
    if link.q_count:
        return link.q_units / Q_UNITS_PER_ONE / link.q_count
    return 0.0 if link.deltas else None


def rollout_rows(rollout: Rollout) -> list[dict[str, Any]]:
    """What devices that serve models said of the newest ones, oldest first."""
    return [
        {
            "round": version.round,
            "model": version.model,
            "accepted": verdicts.accepted,
            "refused": verdicts.refused,
        }
        for version, verdicts in rollout.versions.items()
    ]


def _percentile(scores: Scores, percent: float) -> float | None:
    """Read from bins of a hundredth by their lower edges, so never below the worst device."""
    found = scores.percentile(percent)
    if found is None or scores.worst is None:
        return found
    return max(found, scores.worst[0] / scores.worst[1])


def _codec_text(plan: Plan, link: int) -> str:
    spec = plan.codecs[link - 1]
    return make_codec(spec.name, dict(spec.parameters), where="plan").text


def report_of(result: RunResult) -> dict[str, Any]:
    """The document of ``report.json``."""
    scores, held_out = result.figures.scores, result.held_out
    worst = scores.worst
    report: dict[str, Any] = {
        "federation": result.federation,
        "run": hex64(result.run),
        "tiers": result.plan.tiers,
        "devices": result.devices,
        "rounds": result.plan.rounds,
        "rounds_trained": result.rounds_trained,
        "reasons": result.reasons,
        "seed": result.plan.seed,
        "seconds": round(result.seconds, 3),
        "clock": result.clock,
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "accuracy": held_out.total.accuracy if held_out else None,
        "loss": held_out.total.loss if held_out else None,
        "accuracy_held_out_worst": _named(held_out),
        "accuracy_devices": {
            "mean": scores.accuracy,
            "p10": _percentile(scores, 10),
            "worst": None
            if worst is None
            else {"node": worst[2], "accuracy": worst[0] / worst[1], "examples": worst[1]},
        },
        "loss_devices": scores.loss,
        "rollout": rollout_rows(result.figures.rollout),
        "model_digest": result.model_digest,
        "artefact_digest": result.artefact.digest,
        "lowering": result.plan.lowering or result.artefact.manifest.lowering,
        "tau": list(result.plan.tau),
        "pilot": result.plan.pilot,
        "plans": list(result.plans),
        "links": list(result.links),
        "tiers_usage": [
            {
                "tier": tier,
                "count": f.nodes,
                # No process has used none: of simulated nodes it is not measured.
                "peak_rss_bytes_max": 1024 * f.peak_rss_kib_max or None,
                "peak_rss_bytes_mean": _mean(1024 * f.peak_rss_kib_sum, f.nodes) or None,
                "cpu_seconds_max": f.cpu_ms_max / 1e3,
                "cpu_seconds_mean": _mean(f.cpu_ms_sum / 1e3, f.nodes),
            }
            for tier, f in sorted(result.figures.tiers.items())
        ],
        "nodes": list(result.nodes),
        "versions": _versions(),
    }
    return report


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None


def _named(held_out: HeldOutScore | None) -> dict[str, Any] | None:
    worst = held_out.worst if held_out else None
    if worst is None:
        return None
    name, accuracy, score = worst
    return {"group": name, "accuracy": accuracy, "examples": score.examples}


def _versions() -> dict[str, str]:
    found = {"fedtier": __version__, "python": python_version(), "machine": machine()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write_run_directory(directory: Path, result: RunResult) -> None:
    """Write everything but ``metrics.jsonl``, which grew while the run went on.

    Raises:
        StorageError: If the disk does not take it.
    """
    layout = result.artefact.layout
    tensors = {name: array.copy() for name, array in layout.unflatten(result.model).items()}
    metadata = {"model_digest": result.model_digest, "layout_digest": layout.digest}
    write_durably(directory / "model.safetensors", save(tensors, metadata))
    for name, content in result.artefact.inference_files(
        result.model, graph_name="model.onnx"
    ).items():
        write_durably(directory / name, content)
    how = model_document(result.artefact, model_digest=result.model_digest)
    write_durably(directory / MODEL_FILE, _json(how))
    write_durably(directory / "plan.toml", plan_text(result.plan).encode())
    report = report_of(result)
    write_durably(directory / "report.html", report_page(report, result.rounds).encode())
    # Last: who finds a report finds all that it speaks of.
    write_durably(directory / "report.json", _json(report))


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()


def plan_text(plan: Plan) -> str:
    """The plan of a run as TOML, in the words of a federation file."""
    lines = [
        "# The plan this run was trained by.",
        *([f"# Its first rounds were measured: --pilot {plan.pilot}"] if plan.pilot else []),
        "[plan]",
        f"rounds = {plan.rounds}",
        f"tau = {list(plan.tau)}",
        f"seed = {plan.seed}",
        f"quorum = {json.dumps(list(plan.quorum) or 'all')}",
        f"deadline_s = {json.dumps([d if d is not None else 'none' for d in plan.deadline_s])}",
        *([] if plan.carry == "none" else [f'carry = "{plan.carry}"']),
        *([f'lowering = "{plan.lowering}"'] if plan.lowering else []),
        "",
        "[plan.schedule]",
        f'kind = "{plan.schedule}"',
        f"mu = {plan.mu!r}",
        f"floor = {plan.floor!r}",
    ]
    if plan.schedule == "step":
        lines += [f"factor = {plan.factor!r}", f"milestones = {list(plan.milestones)}"]
    for codec in plan.codecs:
        lines += ["", "[[link]]", f'codec = "{codec.name}"']
        lines += [f"{key} = {value}" for key, value in codec.parameters]
    return "\n".join(lines) + "\n"
