"""The report's lines on single nodes: the cloud itself, and the children it has heard."""

from __future__ import annotations

from cloud.node_usage import NodeUsage
from fedtier.core.figures import Figures, TierFigures
from fedtier.ids import IterationPath, NodeId, RunId
from fedtier.topology import Node, Topology
from fedtier.wire.manifest import UpdateManifest, encode_update

TREE = Topology(
    tuple(
        Node(id=NodeId(name), tier=tier, parent=NodeId(parent) if parent else None)
        for name, tier, parent in (
            ("cloud", 2, ""), ("west", 1, "cloud"), ("kiosk", 0, "cloud"), ("w-0", 0, "west"),
            ("w-1", 0, "west"),
        )
    )
)  # fmt: skip


def used(kib: int, ms: int, nodes: int = 1) -> TierFigures:
    return TierFigures(
        nodes=nodes, peak_rss_kib_sum=nodes * kib, peak_rss_kib_max=kib, cpu_ms_sum=nodes * ms,
        cpu_ms_max=ms,
    )  # fmt: skip


def update(child: str, tiers: dict[int, TierFigures]) -> bytes:
    manifest = UpdateManifest(
        run=RunId(1), path=IterationPath((0,)), node=NodeId(child), task="evaluate",
        base="00" * 32, layout="00" * 32, weight=0, figures=Figures(tiers=tiers).to_json(),
    )  # fmt: skip
    return encode_update(manifest, ())


def test_the_cloud_itself_always_has_a_line():
    assert NodeUsage(TREE).rows(used(2048, 1500)) == [
        {"id": "cloud", "tier": 2, "peak_rss_bytes": 2**21, "cpu_seconds": 1.5}
    ]


def test_each_child_has_the_line_of_its_newest_update_and_nobody_beneath_has_one():
    usage = NodeUsage(TREE)
    usage.hear(NodeId("west"), update("west", {1: used(10, 10), 0: used(99, 99, nodes=2)}))
    usage.hear(NodeId("west"), update("west", {1: used(20, 30), 0: used(99, 99, nodes=2)}))
    usage.hear(NodeId("kiosk"), update("kiosk", {0: used(5, 7)}))
    rows = {row["id"]: row for row in usage.rows(used(1, 1))}
    assert list(rows) == ["cloud", "kiosk", "west"]
    assert rows["west"] == {
        "id": "west", "tier": 1, "peak_rss_bytes": 20 * 1024, "cpu_seconds": 0.03,
    }  # fmt: skip
    assert rows["kiosk"]["peak_rss_bytes"] == 5 * 1024


def test_figures_that_cannot_be_of_one_node_are_left_out():
    usage = NodeUsage(TREE)
    usage.hear(NodeId("west"), update("west", {1: used(10, 10, nodes=3)}))
    usage.hear(NodeId("kiosk"), update("kiosk", {}))
    usage.hear(NodeId("kiosk"), b"no update at all")
    assert [row["id"] for row in usage.rows(used(1, 1))] == ["cloud"]
