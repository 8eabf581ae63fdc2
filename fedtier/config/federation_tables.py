"""What a federation file may hold, table by table: keys, meaning, ranges, defaults."""
# ruff: noqa: RUF009 (key() makes a dataclasses.field)

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from fedtier.config.inference import InferenceTable
from fedtier.config.schema import key
from fedtier.config.simulation_tables import SimulationTable
from fedtier.limits import (
    BEACON_S,
    GIVE_UP_S,
    MILESTONES_MAX,
    MU_MAX,
    MU_MIN,
    PART_BYTES_DEFAULT,
    PART_BYTES_MAX,
    PART_BYTES_MIN,
    PILOT_ROUNDS_MIN,
    RANGE_BITS_DEFAULT,
    RANGE_BITS_MAX,
    ROUNDS_MAX,
    SECONDS_MAX,
    SEED_MAX,
    TAU_MAX,
    TIERS_MAX,
)
from fedtier.transport.address import url_complaint
from fedtier.wire.plan import is_lowering

Quorum = Literal["all"] | int | float
"""How many children of a cell must answer: all, a number, or a fraction of them in (0, 1]."""

_QUORUM_REMEDY = 'Write "all", a number of children such as 3, or a fraction such as 0.8.'


def _quorum_complaint(value: Any) -> str:  # noqa: ANN401 (what the schema let pass)
    for entry in value if isinstance(value, tuple) else (value,):
        if (isinstance(entry, float) and not 0 < entry <= 1) or entry == 0:
            return (
                f"= {value}: a quorum is 1 or more children, or a fraction in (0, 1]. "
                f"{_QUORUM_REMEDY}"
            )
    return ""


def _milestones_complaint(value: Any) -> str:  # noqa: ANN401 (what the schema let pass)
    if all(before < after for before, after in pairwise((*value, 1.0))):
        return ""
    return f"= {list(value)}: milestones are ascending shares of the run, each below 1."


def _lowering_complaint(value: Any) -> str:  # noqa: ANN401 (what the schema let pass)
    if is_lowering(value):
        return ""
    return f'= "{value}": a lowering has a name such as conv, taps or gemm.'


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationTable:
    """The federation's name, and what its means weigh by."""

    id: str = key("The federation's name, part of every topic: a-z, 0-9 and '-'.")
    weights: Literal["devices", "examples"] = key(
        "What a mean weighs by: each device once, or each training example once.",
        default="devices",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTable:
    """The model that is trained."""

    artefact: str = key(
        "The compiled model: 'package:NAME' for one that is installed with fedtier, else a "
        "directory, relative to this file; `config nodes` then copies it for the nodes that begin "
        "with it. Other devices have it from their parent."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleTable:
    """The learning rate of every local step."""

    kind: Literal["cosine", "constant", "step"] = key(
        "constant: mu throughout; cosine: from mu down to floor * mu over the run; step: times "
        "factor at each of the milestones.",
        default="cosine",
    )
    mu: float = key("Learning rate at the start.", default=0.1, minimum=MU_MIN, maximum=MU_MAX)
    floor: float = key(
        "Share of mu that a cosine schedule ends on.", default=0.05, minimum=0, maximum=1
    )
    factor: float = key(
        "What a step schedule multiplies the learning rate by at each milestone.",
        default=0.1,
        above=0,
        maximum=1,
    )
    milestones: tuple[float, ...] = key(
        "Where a step schedule steps: shares of the run, ascending, such as [0.5, 0.75]; needed "
        'with kind = "step", and only there.',
        default=(),
        above=0,
        maximum=1,
        items_max=MILESTONES_MAX,
        complaint=_milestones_complaint,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoTable:
    """How the cloud chooses tau: a pilot, a plan, and another plan when times change."""

    deadline_s: float = key(
        "Seconds of the whole run, the pilot among them: no round begins that would end later.",
        unit="s",
        above=0,
        maximum=SECONDS_MAX,
    )
    estimates: str | None = key(
        "The estimates.json of an earlier run, relative to this file: then there is no pilot.",
        default=None,
    )
    pilot_rounds: int = key(
        "Rounds at the beginning in which the federation is measured: the first tells times, the "
        "others what becomes of losses and gradients.",
        default=4,
        minimum=PILOT_ROUNDS_MIN,
        maximum=100,
    )
    pilot_share: float = key(
        "The pilot ends after a round where what follows would take it beyond this share of the "
        "deadline; after the first round the run is then planned by times alone.",
        default=0.2,
        above=0,
        maximum=1,
    )
    pilot_steps: int = key(
        "Local steps of a device in each of them.", default=8, minimum=1, maximum=TAU_MAX
    )
    replan_factor: float = key(
        "Two rounds in a row that take so many times longer or shorter than planned lead to "
        "another plan.",
        default=1.5,
        above=1,
        maximum=100,
    )
    keep_mu: bool = key(
        "true: the learning rate stays that of [plan.schedule]; false: it is chosen, up to that.",
        default=False,
    )
    codecs: bool = key(
        "Whether the quantizers of the links are chosen, too; false: they stay the file's.",
        default=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTable:
    """How the federation trains unless a command says otherwise."""

    rounds: int | None = key(
        'Rounds of a run; with tau = "auto" the most of them, and need not be given.',
        default=None,
        minimum=1,
        maximum=ROUNDS_MAX,
    )
    tau: Literal["auto"] | tuple[int, ...] = key(
        "tau_1 to tau_N, one per link: local steps per iteration on a device, then iterations of "
        'a cell before its parent sends up. "auto": the cloud measures and chooses, as [plan.auto] '
        "says.",
        minimum=1,
        maximum=TAU_MAX,
        items_min=1,
        items_max=TIERS_MAX,
    )
    seed: int = key(
        "The one source of every random draw; the same seed gives the same model.",
        default=1,
        minimum=0,
        maximum=SEED_MAX,
    )
    quorum: Quorum | tuple[Quorum, ...] = key(
        'Children that must answer before a cell closes at its deadline: "all", a number, or a '
        "fraction of the cell; one value, or one per link.",
        default="all",
        minimum=0,
        complaint=_quorum_complaint,
        remedy=_QUORUM_REMEDY,
    )
    deadline_s: Literal["none"] | float | tuple[Literal["none"] | float, ...] = key(
        "Seconds after which an iteration closes with a quorum; one value, or one per link. "
        '"none": wait for ever. A link\'s deadline must allow for the iterations below it.',
        default="none",
        unit="s",
        above=0,
        maximum=SECONDS_MAX,
    )
    transfer_s: float | tuple[float, ...] = key(
        "Seconds granted to one update on its way up, for the check of deadlines; one value, or "
        "one per link.",
        default=0.0,
        unit="s",
        minimum=0,
        maximum=SECONDS_MAX,
    )
    give_up_s: float = key(
        "Seconds past the deadline after which a cell below its quorum abstains.",
        default=GIVE_UP_S,
        unit="s",
        above=0,
        maximum=SECONDS_MAX,
    )
    part_bytes: int = key(
        "Largest payload of one message; below what every broker on the way allows.",
        default=PART_BYTES_DEFAULT,
        unit="bytes",
        minimum=PART_BYTES_MIN,
        maximum=PART_BYTES_MAX,
    )
    beacon_s: float = key(
        "Seconds between two signs of life of a parent.",
        default=BEACON_S,
        unit="s",
        minimum=1,
        maximum=3600,
    )
    range_bits: int = key(
        "Every coordinate of an update lies in (-2^range_bits, 2^range_bits).",
        default=RANGE_BITS_DEFAULT,
        unit="bits",
        minimum=0,
        maximum=RANGE_BITS_MAX,
    )
    carry: Literal["none", "iteration"] = key(
        "none: a device's momentum is zero when an iteration starts; iteration: it goes on from "
        "the device's iteration before. Only for an artefact with momentum.",
        default="none",
    )
    lowering: str | None = key(
        "Which of the artefact's lowerings every device trains with, such as gemm; absent: its "
        'first. "auto": each device takes the one that is fastest on it, and models are then not '
        "the same to the bit.",
        default=None,
        complaint=_lowering_complaint,
    )
    schedule: ScheduleTable = key(
        "The learning rate of every local step.", default=lambda: ScheduleTable()
    )
    auto: AutoTable | None = key('With tau = "auto": how the cloud chooses.', default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTable:
    """One link, from its children up: which quantizer it uses. Link 1 comes first."""

    codec: str = key("The codec's name, such as qsgd or identity.")
    budget_bytes_per_round: int | None = key(
        "The most bytes that a child's socket may carry over this link in one round, both "
        "directions together; absent: any number.",
        default=None,
        minimum=1,
    )
    budget_bytes_per_day: int | None = key("The same in any 24 hours.", default=None, minimum=1)
    rate_bytes_per_s: float | None = key(
        "The most bytes a second that a child may send upwards over this link, on average.",
        default=None,
        above=0,
    )
    airtime_share_max: float | None = key(
        "The largest share of the time in which a child may be sending, as duty-cycle rules have "
        "it; needs rate_bytes_per_s, at which it then sends.",
        default=None,
        above=0,
        maximum=1,
    )
    parameters: dict[str, int | float] = key(
        "The codec's own parameters, such as levels and bucket of qsgd: see docs/codecs.md.",
        default=dict,
        rest=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTable:
    """What devices train on; [[node]] says what is particular to one of them."""

    source: str = key(
        "The data source's name, such as imu, fashion-mnist, npz-directory or csv-directory."
    )
    parameters: dict[str, object] = key(
        "The source's own keys, shared by all devices: see docs/data.md. 'path' is relative to "
        "this file, and to the node's own file on machines that `config nodes` writes for.",
        default=dict,
        rest=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationTable:
    """What the cloud evaluates the global model on; no device trains on it."""

    source: str | None = key("The data source's name; that of [data] by default.", default=None)
    parameters: dict[str, object] = key(
        "The source's own keys, such as which subjects or files are held out: see docs/data.md. "
        "Of the same source, 'path' and what says how files are read are those of [data] where "
        "they are not given here.",
        default=dict,
        rest=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerTable:
    """The MQTT brokers of the federation, one beside every parent, and how nodes log in to them.

    Paths are those of each node's own machine, relative to its node file; never a secret itself.
    """

    kind: Literal["mosquitto", "embedded", "url"] = key(
        "mosquitto: one per parent; embedded: the same from a Python wheel, for demos and tests; "
        "url: brokers that run already.",
        default="mosquitto",
    )
    url: str | None = key(
        'With kind = "url": the broker of every cell that has none of its own in [[node]].',
        default=None,
        complaint=url_complaint,
    )
    username: str | None = key(
        'With kind = "url": the name that all nodes log in with, beside password_file; each '
        "node's own id by default.",
        default=None,
    )
    password_file: str | None = key(
        "File on every node's machine whose first line is that node's password.", default=None
    )
    cafile: str | None = key(
        "mqtts: certificates to trust; absent: those of the node's system.", default=None
    )
    certfile: str | None = key(
        "mqtts: file on every node's machine with that node's certificate; with keyfile.",
        default=None,
    )
    keyfile: str | None = key("mqtts: the certificate's private key.", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTable:
    """What is particular to some nodes of the tree; a later table overrides an earlier one."""

    id: str = key(
        "The node, or several: watch-{1..8}-{left,right} is sixteen. $1, $2 ... in the texts of "
        "this table stand for what stood in the braces."
    )
    data: dict[str, object] = key("Devices: keys of [data] that differ here.", default=dict)
    board: str | None = key(
        "The board's profile: a name such as pi-4, or a .toml file relative to this one.",
        default=None,
    )
    broker_url: str | None = key(
        "Gateways and the cloud: the broker of this node's cell.",
        default=None,
    )
    username: str | None = key(
        'With kind = "url": the name this node logs in with, in place of [broker] username.',
        default=None,
    )
    password_file: str | None = key("In place of [broker] password_file.", default=None)
    cafile: str | None = key("In place of [broker] cafile.", default=None)
    certfile: str | None = key("In place of [broker] certfile.", default=None)
    keyfile: str | None = key("In place of [broker] keyfile.", default=None)
    step_s: float | None = key(
        "Devices: in place of [simulation] step_s.",
        default=None,
        unit="s",
        minimum=0,
        maximum=3600,
    )
    tier: int | None = key(
        "Gateways: the tier, where it is not one above the highest child.",
        default=None,
        minimum=0,
        maximum=TIERS_MAX,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationFile:
    """A federation: tree, links, data, model, and the plan it trains by."""

    federation: FederationTable = key("The federation's name, and what its means weigh by.")
    tree: dict[str, tuple[str, ...]] = key(
        "Who hangs where: parent = [its children]. The parent nobody lists is the cloud; who has "
        "no children is a device. Names in bulk: home-{1..4}; in a parent's children $1 stands "
        "for what stood in the parent's first brace."
    )
    model: ModelTable = key("The model that is trained.")
    plan: PlanTable = key("How the federation trains unless a command says otherwise.")
    link: tuple[LinkTable, ...] = key(
        "One table per link, link 1 (from the devices) first.", items_min=1, items_max=TIERS_MAX
    )
    data: DataTable = key("What devices train on.")
    evaluation: EvaluationTable | None = key(
        "What the cloud evaluates the global model on.", default=None
    )
    inference: InferenceTable | None = key(
        "Devices: each serves the newest model it accepted to the application on its board.",
        default=None,
    )
    broker: BrokerTable = key("The MQTT brokers of the federation.", default=lambda: BrokerTable())
    simulation: SimulationTable | None = key(
        "How long things take in `fedtier sim`, and by `fedtier plan` before a pilot has measured.",
        default=None,
    )
    node: tuple[NodeTable, ...] = key("What is particular to some nodes of the tree.", default=())
