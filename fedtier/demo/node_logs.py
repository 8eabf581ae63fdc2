"""What the nodes say in their logs that a person wants to see: who is up, waits, never trained."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

from fedtier.ids import NodeId
from fedtier.show.tail import Tail
from fedtier.topology import Topology

_TRAINED, _ABSTAINED = "trained  ", "abstained  "
_WAITED = (" waiting is over ", " iteration closed ", " round opened ")


class NodeLogs:
    """Follows the logs of all nodes."""

    def __init__(self, topology: Topology, paths: Mapping[NodeId, Path]) -> None:
        self._topology = topology
        self._tails = {node: Tail(path) for node, path in paths.items()}
        self._waiting: dict[NodeId, str] = {}
        self.connected: set[NodeId] = set()  # who says that it has reached a broker
        self._trained: set[NodeId] = set()
        self._abstained: dict[NodeId, str] = {}  # the newest reason

    def listen(self) -> None:
        """Take in what has been logged since the last look."""
        waited: list[NodeId] = []
        for node, tail in self._tails.items():
            for line in tail.lines():
                self._note(node, line.split(maxsplit=2)[-1] if line else "")
                if " connected  " in line:
                    self.connected.add(node)
                elif " waiting for parent " in line:
                    continue  # what a parent waits for, or its going, tells more
                elif " waiting for " in line:
                    self._waiting[node] = line.split(maxsplit=2)[-1]  # behind time and level
                elif any(event in line for event in _WAITED):
                    waited.append(node)
                    self._waiting.pop(node, None)
        for node in waited:  # those above waited for it, and may not have heard from it yet
            for above in self._topology.path_to_root(node)[1:]:
                self._waiting.pop(above, None)

    def untrained(self) -> dict[NodeId, str]:
        """The devices that never trained, in name order, each with the reason it gave last."""
        return {
            device: self._abstained.get(device, "it gave no reason")
            for device in self._topology.devices()
            if device not in self._trained
        }

    def _note(self, node: NodeId, event: str) -> None:
        if event.startswith(_TRAINED):
            self._trained.add(node)
        elif event.startswith(_ABSTAINED):
            reason = event.partition(" reason=")[2]
            quoted = reason[:1] in ("'", '"')
            self._abstained[node] = str(ast.literal_eval(reason)) if quoted else reason

    def waiting(self) -> list[str]:
        """What the lowest of the waiting parents say, by name: those above wait for them."""
        tiers = {node: self._topology.node(node).tier for node in self._waiting}
        lowest = min(tiers.values(), default=0)
        return [f"{n}  {text}" for n, text in sorted(self._waiting.items()) if tiers[n] == lowest]
