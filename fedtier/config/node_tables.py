"""What a node file may hold, table by table: keys, meaning, ranges, defaults."""
# ruff: noqa: RUF009 (key() makes a dataclasses.field)

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedtier.budget import Budget
from fedtier.config.board import BoardTable
from fedtier.config.inference import InferenceTable
from fedtier.config.schema import key
from fedtier.ids import FederationId, NodeId
from fedtier.limits import (
    CHILDREN_MAX,
    KEEPALIVE_S,
    KEEPALIVE_S_MAX,
    KEEPALIVE_S_MIN,
    PART_BYTES_DEFAULT,
    PART_BYTES_MAX,
    PART_BYTES_MIN,
    TIERS_MAX,
)
from fedtier.transport.address import url_complaint

CONNECT_FILES = ("password_file", "cafile", "certfile", "keyfile")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSection:
    """Who this node is and where it keeps things."""

    id: str = key("This node's id; also its name towards brokers.")
    role: Literal["agent", "gateway", "cloud"] = key("Which program runs this node.")
    federation: str = key("The federation's id.")
    tier: int = key(
        "How many links above the devices; 0 for an agent.", minimum=0, maximum=TIERS_MAX
    )
    state_dir: str = key(
        "Where this node keeps what must survive, and no other process; relative to this file."
    )
    run_dir: str | None = key(
        "Cloud: where a run's report and model go; relative to this file.", default=None
    )
    federation_file: str | None = key(
        "Cloud: the federation file, the only place of the plan; relative to this file.",
        default=None,
    )
    artefact: str | None = key(
        "Cloud: the compiled model, 'package:NAME' or a directory relative to this file. "
        "Agent: the one to begin with, if it is not to come from the parent.",
        default=None,
    )
    weight: Literal["examples"] | int = key(
        'Agent: its weight in a mean; "examples" = the number of its training examples.',
        default=1,
        minimum=1,
        maximum=2**24,
    )
    part_bytes: int = key(
        "Largest payload of one message; below what this node's brokers allow.",
        default=PART_BYTES_DEFAULT,
        unit="bytes",
        minimum=PART_BYTES_MIN,
        maximum=PART_BYTES_MAX,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectSection:
    """How to reach a broker; secrets are paths of files, relative to this file."""

    url: str = key("mqtt://HOST:PORT, or mqtts:// over TLS.", complaint=url_complaint)
    username: str | None = key(
        "Name to log in with, beside password_file; this node's id by default.", default=None
    )
    password_file: str | None = key("File whose first line is the password.", default=None)
    cafile: str | None = key(
        "mqtts: certificates to trust; absent: those of the system.", default=None
    )
    certfile: str | None = key("mqtts: this node's certificate; with keyfile.", default=None)
    keyfile: str | None = key("mqtts: the certificate's private key.", default=None)
    keepalive_s: int = key(
        "Seconds without a word after which either end asks whether the other still lives; one "
        "that has gone silent is noticed within twice this. Longer where a link is slow or paid by "
        "the byte.",
        default=KEEPALIVE_S,
        unit="s",
        minimum=KEEPALIVE_S_MIN,
        maximum=KEEPALIVE_S_MAX,
    )

    def files(self) -> dict[str, str]:
        """The files that are named, by key."""
        paths = {name: getattr(self, name) for name in CONNECT_FILES}
        return {name: path for name, path in paths.items() if path is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSection:
    """What the link to the parent may carry: see docs/budgets.md."""

    bytes_per_round: int | None = key(
        "The most bytes in one round, both directions together; absent: any number.",
        default=None,
        minimum=1,
    )
    bytes_per_day: int | None = key("The same in any 24 hours.", default=None, minimum=1)
    rate_bytes_per_s: float | None = key(
        "The most bytes a second upwards, on average.", default=None, above=0
    )
    airtime_share_max: float | None = key(
        "The largest share of the time in which this node may be sending at rate_bytes_per_s.",
        default=None,
        above=0,
        maximum=1,
    )
    members: int = key(
        "How many children the parent has: the size of what it says to all follows from it.",
        default=64,
        minimum=1,
        maximum=CHILDREN_MAX,
    )

    @property
    def budget(self) -> Budget:
        """The budget itself."""
        return Budget(
            bytes_per_round=self.bytes_per_round,
            bytes_per_day=self.bytes_per_day,
            rate_bytes_per_s=self.rate_bytes_per_s,
            airtime_share_max=self.airtime_share_max,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentSection(ConnectSection):
    """The node above and the broker its cell is on; absent for the cloud."""

    id: str = key("The parent's id.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSection(ConnectSection):
    """Gateway and cloud: the cell of this node's children, and its broker."""

    members: tuple[str, ...] = key(
        "The children this node admits.", items_min=1, items_max=CHILDREN_MAX
    )
    members_min: int | None = key(
        "Gateway: how many members must be ready before it takes part; absent: all.",
        default=None,
        minimum=1,
        maximum=CHILDREN_MAX,
    )
    kind: Literal["mosquitto", "embedded", "url"] = key(
        "What the broker is; url: one that runs already.", default="url"
    )
    start: bool = key("Whether this node starts and stops the broker itself.", default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSection:
    """Agent: what this device trains on."""

    source: str = key(
        "The data source's name, such as imu, fashion-mnist, npz-directory or csv-directory."
    )
    parameters: dict[str, object] = key(
        "The source's own keys: see docs/data.md. 'path' is relative to this file.",
        default=dict,
        rest=True,
    )

    @property
    def spec(self) -> dict[str, object]:
        """The data specification as the data sources take it."""
        return {"source": self.source, **self.parameters}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFile:
    """One node: who it is, its brokers, members, data and directories; nothing of the plan."""

    node: NodeSection = key("Who this node is and where it keeps things.")
    parent: ParentSection | None = key(
        "The node above and the broker its cell is on; absent for the cloud.", default=None
    )
    budget: BudgetSection | None = key(
        "What the link to the parent may carry; absent: as much as it takes.", default=None
    )
    cell: CellSection | None = key(
        "Gateway and cloud: the cell of this node's children, and its broker.", default=None
    )
    data: DataSection | None = key("Agent: what this device trains on.", default=None)
    inference: InferenceTable | None = key(
        "Agent: serves the newest accepted global model to the application on the board.",
        default=None,
    )
    board: BoardTable = key(
        "What this node's process may use of its board.", default=lambda: BoardTable()
    )

    @property
    def id(self) -> NodeId:
        """This node's id."""
        return NodeId(self.node.id)

    @property
    def federation(self) -> FederationId:
        """The federation's id."""
        return FederationId(self.node.federation)

    @property
    def parent_id(self) -> NodeId:
        """The parent's id; not for the cloud, which has none."""
        assert self.parent is not None, "a node file with this role has a parent"
        return NodeId(self.parent.id)

    @property
    def members(self) -> tuple[NodeId, ...]:
        """The children this node admits; none for an agent."""
        return () if self.cell is None else tuple(map(NodeId, self.cell.members))

    @property
    def members_min(self) -> int:
        """How many of them must be ready before this node takes part."""
        wanted = None if self.cell is None else self.cell.members_min
        return len(self.members) if wanted is None else wanted
