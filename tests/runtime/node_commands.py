"""A command of the product's own command line that runs a small node, for its exit code."""

from __future__ import annotations

from pathlib import Path

import typer
from runtime_world import CELL, DONE, Node, Scripted, arrive, presence_of

from fedtier.core.child import LinkTimes
from fedtier.core.effects import Preempt, Spool
from fedtier.errors import StorageError
from fedtier.ids import IterationPath, NodeId, RunId
from fedtier.runtime.usage import LinkMeter
from gateway.performer import Performer

app = typer.Typer()


@app.command()
def run(fault: str, state_dir: Path) -> None:
    """Run until the fault."""
    effects = [Spool(run=RunId(1), path=IterationPath((0,)), child=NodeId("d1"), blob=b"update")]
    if fault.startswith("work"):
        effects = [Preempt(job=None)]
    node = Node(Scripted(lambda event: [*effects, DONE]), give_up_s=0.0)
    gateway = Performer(
        node=CELL, tier=1, state_dir=state_dir, host=node.driver,
        meter=LinkMeter(node.transports["down"]), link_times=LinkTimes,
    )  # fmt: skip
    if fault != "unreachable":
        arrive(node, *presence_of("d1"))

    def work():
        if fault == "work: disk":
            raise StorageError("/spool cannot be written: No space left on device. Free space")
        raise ZeroDivisionError("a bug")

    def perform(effect):
        if fault.startswith("work"):
            node.driver.work(work)
        else:
            gateway.perform(effect)

    raise typer.Exit(node.run(perform))
