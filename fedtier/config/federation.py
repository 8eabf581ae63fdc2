"""A federation as its file describes it: tree, links, data, model, and the plan it trains by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fedtier.budget import Budget
from fedtier.config.access_rules import check_access
from fedtier.config.federation_rules import check_federation, per_link, quorum_text
from fedtier.config.federation_tables import (
    AutoTable,
    EvaluationTable,
    FederationFile,
    LinkTable,
    PlanTable,
    Quorum,
    ScheduleTable,
)
from fedtier.config.files import read_text, resolve, resolve_spec
from fedtier.config.inference import InferenceTable
from fedtier.config.kinds import check_kind
from fedtier.config.parse import parse_table
from fedtier.config.particulars import NodeExtras, combine, read_particulars
from fedtier.config.place import Place
from fedtier.config.simulation_tables import SimulatedLinkTable, SimulationTable
from fedtier.config.toml_text import parse_document
from fedtier.config.tree import read_tree
from fedtier.ids import FederationId, NodeId, parse_federation_id
from fedtier.limits import ROUNDS_MAX
from fedtier.topology import Link, Topology
from fedtier.wire.plan import members_needed


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the cloud puts into its heads unless a command says otherwise; one entry per link."""

    rounds: int
    tau: tuple[int, ...]  # tau_1 .. tau_N, each >= 1; of the pilot, where tau is chosen
    auto: AutoTable | None  # how tau is chosen; None = it is given
    seed: int  # 0 .. 2**63 - 1
    quorum: tuple[Quorum, ...]
    deadline_s: tuple[float | None, ...]  # None = wait for ever
    transfer_s: tuple[float, ...]  # granted to one update on its way up, for the check alone
    give_up_s: float
    part_bytes: int
    beacon_s: float
    range_bits: int  # R: coordinates lie in (-2**R, 2**R)
    carry: Literal["none", "iteration"]
    lowering: str  # "" = the artefact's first
    schedule: ScheduleTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """A checked federation.

    Paths in it are absolute, but for those of secrets, which are of the nodes' own machines.
    """

    where: str  # the file it came from, for errors
    id: FederationId
    weights: Literal["devices", "examples"]
    topology: Topology
    links: tuple[Link, ...]  # link 1 first; N of them
    plan: Plan
    artefact: str  # "package:NAME" or a directory
    nodes: Mapping[NodeId, NodeExtras]
    evaluation: Mapping[str, object] | None  # the cloud's held-out data specification
    inference: InferenceTable | None  # of every device; None = no model is served
    simulation: SimulationTable  # with one link table per link
    broker_kind: Literal["mosquitto", "embedded", "url"]

    @property
    def tiers(self) -> int:
        """N, the number of links."""
        return len(self.links)

    def members_needed(self, parent: NodeId) -> int:
        """The quorum of a cell as a number of its children, 1 to all of them."""
        cell = self.topology.cell(parent)
        quorum = quorum_text(self.plan.quorum[cell.link - 1])
        return members_needed(quorum, members=len(cell.children))

    def without_broker(self) -> tuple[NodeId, ...]:
        """The parents for whose cell the file names no broker, in name order."""
        return tuple(p for p in self.topology.parents() if self.nodes[p].broker_url is None)


def load_federation(path: Path, *, as_written: bool = False) -> Federation:
    """Read and check a federation file.

    Args:
        path: The file.
        as_written: Whether the paths of data and model stay as they are, for other machines to
            resolve; they are absolute by default.

    Raises:
        ConfigError: If it cannot be read or cannot be; names file, table, key and remedy.
    """
    return parse_federation(
        read_text(path),
        where=str(path),
        directory=path.resolve().parent,
        as_written=as_written,
    )


def parse_federation(
    text: str, *, where: str, directory: Path, as_written: bool = False
) -> Federation:
    """Check a federation file's text.

    Args:
        text: TOML.
        where: The file's name, for errors.
        directory: What paths in the file are relative to.
        as_written: As in :func:`load_federation`.

    Raises:
        ConfigError: If it cannot be; names file, table, key and remedy.
    """
    top = Place(where)
    document = parse_document(text, where=where)
    check_kind(document, "federation", where=where)
    file = parse_table(FederationFile, document, top)
    particulars = read_particulars(file.node, place=top)
    data_directory = Path() if as_written else directory
    topology = read_tree(
        file.tree,
        links=len(file.link),
        tiers={id_: p.tier for id_, p in particulars.items() if p.tier is not None},
        place=top.below("tree"),
    )
    nodes = combine(
        file,
        particulars,
        topology,
        directory=directory,
        data_directory=data_directory,
        place=top,
    )
    check_access(file.broker, particulars, nodes, topology, place=top)
    federation = Federation(
        where=where,
        id=parse_federation_id(file.federation.id, where=top.below("federation").at("id")),
        weights=file.federation.weights,
        topology=topology,
        links=tuple(
            Link(
                index=index,
                codec=table.codec,
                parameters=table.parameters,
                budget=_budget(table),
            )
            for index, table in enumerate(file.link, start=1)
        ),
        plan=_plan(file.plan, len(file.link), top.below("plan"), directory),
        artefact=resolve(file.model.artefact, data_directory),
        nodes=nodes,
        evaluation=_evaluation(file, data_directory, top),
        inference=file.inference,
        simulation=_simulation(file, top),
        broker_kind=file.broker.kind,
    )
    check_federation(federation, place=top)
    return federation


def _plan(table: PlanTable, links: int, place: Place, directory: Path) -> Plan:
    deadlines: tuple[Literal["none"] | float, ...] = per_link(
        table.deadline_s, links, name="deadline_s", place=place
    )
    return Plan(
        rounds=_rounds(table, place),
        tau=_tau(table, links, place),
        auto=_auto(table.auto, directory),
        seed=table.seed,
        quorum=per_link(table.quorum, links, name="quorum", place=place),
        deadline_s=tuple(None if isinstance(entry, str) else float(entry) for entry in deadlines),
        transfer_s=per_link(table.transfer_s, links, name="transfer_s", place=place),
        give_up_s=table.give_up_s,
        part_bytes=table.part_bytes,
        beacon_s=table.beacon_s,
        range_bits=table.range_bits,
        carry=table.carry,
        lowering=table.lowering or "",
        schedule=table.schedule,
    )


def _auto(table: AutoTable | None, directory: Path) -> AutoTable | None:
    if table is None or table.estimates is None:
        return table
    return replace(table, estimates=str(directory / table.estimates))


def _rounds(table: PlanTable, place: Place) -> int:
    if table.rounds is None and table.tau != "auto":
        raise place.refuse("rounds", 'is missing. Give a number, such as 50, or tau = "auto".')
    return ROUNDS_MAX if table.rounds is None else table.rounds


def _tau(table: PlanTable, links: int, place: Place) -> tuple[int, ...]:
    """As given; where the cloud is to choose, what its pilot runs by."""
    if isinstance(table.tau, tuple):
        if table.auto is not None:
            raise place.refuse("auto", 'is for tau = "auto", and tau is given. Remove one.')
        return per_link(table.tau, links, name="tau", place=place)
    if table.auto is None:
        raise place.refuse(
            "tau", '= "auto" needs the table [plan.auto] with deadline_s: how long a run may take.'
        )
    return (table.auto.pilot_steps, *(1 for _ in range(1, links)))


def _budget(table: LinkTable) -> Budget:
    return Budget(
        bytes_per_round=table.budget_bytes_per_round,
        bytes_per_day=table.budget_bytes_per_day,
        rate_bytes_per_s=table.rate_bytes_per_s,
        airtime_share_max=table.airtime_share_max,
    )


def _simulation(file: FederationFile, place: Place) -> SimulationTable:
    table = file.simulation or SimulationTable()
    here = place.below("simulation")
    given: SimulatedLinkTable | tuple[SimulatedLinkTable, ...] = table.link or SimulatedLinkTable()
    for number, change in enumerate(table.change, start=1):
        if change.number > len(file.link):
            raise here.below("change", number=number).refuse(
                "number", f"= {change.number}: there are {len(file.link)} links, counted from 1."
            )
    return replace(table, link=per_link(given, len(file.link), name="link", place=here))


def _evaluation(file: FederationFile, directory: Path, place: Place) -> Mapping[str, object] | None:
    table = evaluation_in_force(file, place=place)
    if table is None:
        return None
    return resolve_spec({"source": table.source, **table.parameters}, directory)


def evaluation_in_force(file: FederationFile, *, place: Place) -> EvaluationTable | None:
    """``[evaluation]`` with what it takes from ``[data]``: the source, and keys common to both.

    Raises:
        ConfigError: If there is no such source.
    """
    # Here, for data bring numpy, and who only reads the tables needs none.
    from fedtier.data.sources import common_keys

    table, data = file.evaluation, file.data
    if table is None:
        return None
    source = data.source if table.source is None else table.source
    if source != data.source:
        return table
    common = common_keys(source, where=str(place.below("data")))
    taken = {key: data.parameters[key] for key in common if key in data.parameters}
    return EvaluationTable(source=source, parameters={**taken, **table.parameters})
