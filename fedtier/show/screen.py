"""What a person sees while the demo runs: the tree coming up, then the round's figures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text
from rich.tree import Tree

from fedtier.config.federation import Federation
from fedtier.ids import NodeId
from fedtier.topology import Topology
from fedtier.words import counted

_DEVICES_PER_LINE = 8
_WAITING_LINES_MAX = 4
_NODES_MAX = 100  # a larger tree is told by its tiers
_QUIET_S = 10.0  # in plain lines, who is waited for is shown when nothing else was for so long


def rounds_to_show(federation: Federation, asked: int | None) -> int | None:
    """How many rounds a run will have; None where that follows from what it measures."""
    if federation.plan.auto is not None:
        return None
    return asked or federation.plan.rounds


class Screen:
    """A live picture on a terminal; plain lines where the output goes to a file."""

    def __init__(
        self, console: Console, topology: Topology, *, rounds: int | None, title: str
    ) -> None:
        self._console = console
        self._topology = topology
        self._title = title
        self._up: set[NodeId] = set()
        self._row: Mapping[str, Any] | None = None
        self._status = ""
        self._waiting: Sequence[str] = []
        self._drawn_s = time.monotonic()
        self._bar = Progress(
            TextColumn("round"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._bar.add_task("rounds", total=rounds)
        self._live = Live(self._picture(), console=console, refresh_per_second=5, transient=False)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        else:
            self._console.print(self._tree(), highlight=False, soft_wrap=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def say(self, status: str) -> None:
        """Show what is going on before the first round."""
        self._status = status
        self._draw(status)

    def show_up(self, up: set[NodeId]) -> None:
        """Show which nodes have reached their brokers."""
        if up == self._up:
            return
        self._up = set(up)
        total = len(list(self._topology))
        wait = "; the first round is under way" if len(up) == total else ""
        self.say(f"{len(up)} of {total} nodes {'is' if len(up) == 1 else 'are'} up{wait}")

    def show_rounds(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Show the rounds that have closed."""
        for row in rows:
            self._row = row
            self._bar.update(self._task, completed=row["round"] + 1)
            self._draw("   ".join(_figures(row)))

    def show_waiting(self, waiting: Sequence[str]) -> None:
        """Show who is waited for, while that lasts."""
        quiet = time.monotonic() - self._drawn_s >= _QUIET_S
        if waiting == self._waiting or not (quiet or self._console.is_terminal):
            return
        fresh = [line for line in waiting if line not in self._waiting]
        self._waiting = waiting
        if fresh or self._console.is_terminal:
            self._draw("\n".join(fresh[:_WAITING_LINES_MAX]))

    def _draw(self, line: str) -> None:
        self._drawn_s = time.monotonic()
        if self._console.is_terminal:
            self._live.update(self._picture(), refresh=True)
        else:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _picture(self) -> Group:
        lines = _figures(self._row) if self._row else [self._status]
        waiting = [Text(line, style="yellow") for line in self._waiting[:_WAITING_LINES_MAX]]
        return Group(self._tree(), Text(), self._bar, *map(Text, lines), *waiting)

    def _tree(self) -> Tree:
        def label(node: NodeId) -> Text:
            style = "green" if node in self._up else "dim"
            return Text(node, style=style)

        def grow(branch: Tree, parent: NodeId) -> None:
            children = self._topology.children(parent)
            devices = [c for c in children if self._topology.node(c).is_device]
            for child in children:
                if child not in devices:
                    grow(branch.add(label(child)), child)
            for start in range(0, len(devices), _DEVICES_PER_LINE):
                line = devices[start : start + _DEVICES_PER_LINE]
                branch.add(Text("  ").join(label(device) for device in line))

        cloud = self._topology.cloud
        root = Tree(Text.assemble(label(cloud), ("   " + self._title, "dim")))
        if len(list(self._topology)) > _NODES_MAX:
            self._grow_by_tier(root)
        else:
            grow(root, cloud)
        return root

    def _grow_by_tier(self, root: Tree) -> None:
        tiers = Counter(node.tier for node in self._topology if not node.is_cloud)
        branch = root
        for tier, count in sorted(tiers.items(), reverse=True):
            branch = branch.add(counted(count, "gateway" if tier else "device"))


def _figures(row: Mapping[str, Any]) -> list[str]:
    """A line on the model, if it was evaluated, one on each link, and what is not in it."""
    first = f"round {row['round'] + 1}" + ("" if row["members"] else "  nobody trained")
    if row.get("accuracy") is not None:
        first += f"  held-out accuracy {100 * row['accuracy']:.1f} %"
    if row.get("loss") is not None:
        first += f"  {'held-out ' if row.get('accuracy') is None else ''}loss {row['loss']:.3f}"
    if row.get("rollout"):
        newest = row["rollout"][-1]
        first += f"  model of round {newest['round']} accepted by {newest['accepted']}"
        first += f", refused by {newest['refused']}" if newest["refused"] else ""
    links = (
        f"link {r['link']}  {r['bytes_up'] / 1e6:.2f} MB up  {r['bytes_down'] / 1e6:.2f} MB down"
        for r in row["links"]
    )
    return [first, *links, "MB without each child's newest update"]
