"""What a pilot measured of a federation: plain numbers, as a JSON document.

Constants are those of ``docs/theory.md`` and have its names. Measured along a few rounds they are
lower estimates; what a planner makes of them is a forecast, not a guarantee.
"""
# ruff: noqa: RUF009 (key() makes a dataclasses.field)

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from fedtier.config.federation import Federation
from fedtier.config.files import read_text
from fedtier.config.parse import parse_table
from fedtier.config.place import Place
from fedtier.config.schema import key
from fedtier.errors import ConfigError
from fedtier.limits import DIMENSION_MAX, MU_MAX, MU_MIN, SECONDS_MAX, TAU_MAX, TIERS_MAX

KIND = "fedtier estimates 1"

# Losses, gradients and curvatures of nets that train are within a few powers of ten of 1, and with
# inputs in the oddest units within some nine. What is not within fifteen nobody measured, and the
# powers and products that the theorem and the forecast take of it would be beyond every float.
_LEAST = 1e-15
_MOST = 1e15


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkEstimate:
    """One link: how fast it is, and how much its quantizer adds to what it carries."""

    codec: str = key("The codec that was measured, such as qsgd.")
    parameters: dict[str, int | float] = key(
        "Of the codec, such as levels and bucket.", default=dict
    )
    q: float | None = key(
        "The mean of the updates' exact relative errors; absent: none was sent.",
        default=None,
        minimum=0,
        maximum=DIMENSION_MAX,  # no codec errs as much
    )
    rate_bytes_per_s: float | None = key(
        "Bytes a second of one child's connection; absent: without a limit that shows.",
        default=None,
        minimum=1e-6,  # four weeks for two bytes
        maximum=_MOST,
    )
    latency_s: float = key(
        "Seconds of a way to the parent and back, as an update and the next model take at least.",
        default=0.0,
        unit="s",
        minimum=0,
        maximum=SECONDS_MAX,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotRound:
    """How far one round of the pilot went, on the devices' training losses."""

    tau: tuple[int, ...] = key(
        "tau_1 .. tau_N of the round.",
        minimum=1,
        maximum=TAU_MAX,
        items_min=1,
        items_max=TIERS_MAX,
    )
    mu: float = key("Its step size, constant in the round.", minimum=MU_MIN, maximum=MU_MAX)
    loss_before: float = key(
        "The weighted mean of the devices' losses at the cloud's model before it, in nats.",
        minimum=-_MOST,
        maximum=_MOST,
    )
    loss_after: float = key(
        "The same after it; what follows on it begins with another entry.",
        minimum=-_MOST,
        maximum=_MOST,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """What the planner needs to know, and a pilot measures; names are those of the theory."""

    kind: Literal["fedtier estimates 1"] = key("What the document is.", default=KIND)
    dimension: int = key("d, the numbers of the model.", minimum=1, maximum=DIMENSION_MAX)
    step_s: dict[str, float] = key(
        "Seconds of one local step on each device, by its id.",
        minimum=0,
        maximum=SECONDS_MAX,
        unit="s",
    )
    link: tuple[LinkEstimate, ...] = key(
        "Link 1, from the devices, first.", items_min=1, items_max=TIERS_MAX
    )
    gap: float = key(
        "F - inf F at the first model that was measured, in nats. For inf F stands what is known "
        "of it: the entropy of smoothed targets, else 0.",
        minimum=_LEAST,
        maximum=_MOST,
    )
    sigma2: float = key("Variance of one stochastic gradient.", minimum=0, maximum=_MOST)
    zeta2: tuple[float, ...] = key(
        "zeta_n^2 of links 1 to N: how much gradients of a cell's children differ.",
        minimum=0,
        maximum=_MOST,
        items_min=1,
        items_max=TIERS_MAX,
    )
    L: float = key("Smoothness of the mean loss F.", minimum=_LEAST, maximum=_MOST)
    Lh: float = key(
        "How much the mean gradient changes where devices disperse.", minimum=_LEAST, maximum=_MOST
    )
    Lv: float = key(
        "How much the devices' own gradients change where they disperse.",
        minimum=_LEAST,
        maximum=_MOST,
    )
    progress: tuple[PilotRound, ...] = key("The pilot's rounds in their order.", items_min=1)


def estimates_for(federation: Federation, given: Path, *, dimension: int) -> Estimates:
    """The estimates to plan a federation with.

    Args:
        federation: What is to be planned.
        given: A file that a pilot wrote.
        dimension: Numbers of the federation's model.

    Raises:
        ConfigError: If they cannot be read or cannot be, or are of another model.
    """
    estimates = load_estimates(given)
    if estimates.dimension != dimension:
        raise ConfigError(
            f"{given}: dimension = {estimates.dimension}, and the model of {federation.where} has "
            f"{dimension} numbers: these are estimates of another one. Run a pilot of this "
            "federation."
        )
    return estimates


def load_estimates(path: Path) -> Estimates:
    """Read and check an estimates file.

    Raises:
        ConfigError: If it cannot be read or cannot be; names file, key, value and range.
    """
    return parse_estimates(read_text(path), where=str(path))


def parse_estimates(text: str, *, where: str) -> Estimates:
    """Check the text of an estimates file.

    Args:
        text: JSON.
        where: What to name in an error.

    Raises:
        ConfigError: If it cannot be; names file, key, value and range.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: this is not JSON: {str(error)[:100]}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{where}: this is not a JSON object; a pilot writes one")
    place = Place(where)
    estimates = parse_table(Estimates, document, place)
    links = len(estimates.link)
    counts: Sequence[tuple[str, int]] = (
        ("zeta2", len(estimates.zeta2)),
        *((f"progress[{n}] tau", len(each.tau)) for n, each in enumerate(estimates.progress, 1)),
    )
    for name, count in counts:
        if count != links:
            raise place.refuse(
                name, f"has {count} entries, but there are {links} links. Measure them again."
            )
    return estimates


def estimates_json(estimates: Estimates) -> str:
    """The document; what is absent is left out."""
    return json.dumps(_plain(estimates), indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:  # noqa: ANN401 (a dataclass, or what its fields hold)
    if is_dataclass(value):
        named = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: _plain(each) for name, each in named if each is not None}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value
