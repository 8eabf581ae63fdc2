"""What single nodes used, as far as the cloud sees them: itself, and its children's last word."""

from __future__ import annotations

from typing import Any

from fedtier.core.figures import Figures, TierFigures
from fedtier.errors import WireError
from fedtier.ids import NodeId
from fedtier.topology import Topology
from fedtier.wire.manifest import peek_update


class NodeUsage:
    """Remembers the newest figures of every child of the cloud.

    An update sums up its sender's subtree by tier. All that is beneath a node is on lower tiers,
    so the line of the sender's own tier is the sender's alone; of nodes further down only sums
    arrive.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._children: dict[NodeId, TierFigures] = {}

    def hear(self, child: NodeId, blob: bytes) -> None:
        """Take the figures out of a child's update; what makes no sense is left out."""
        try:
            figures = Figures.from_json(peek_update(blob).figures)
        except WireError:
            return
        own = figures.tiers.get(self._topology.node(child).tier)
        if own is not None and own.nodes == 1:
            self._children[child] = own

    def rows(self, cloud: TierFigures) -> list[dict[str, Any]]:
        """A line for each node, in name order.

        Args:
            cloud: What the cloud's own process used.
        """
        known = {**self._children, self._topology.cloud: cloud}
        return [
            {
                "id": node,
                "tier": self._topology.node(node).tier,
                "peak_rss_bytes": 1024 * used.peak_rss_kib_max,
                "cpu_seconds": used.cpu_ms_max / 1e3,
            }
            for node, used in sorted(known.items())
        ]
