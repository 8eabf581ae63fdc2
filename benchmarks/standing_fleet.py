"""One fleet, three runs: the demo's 22 standing processes and 7 brokers, a cloud for each run.

    python -m benchmarks.standing_fleet [--broker mosquitto|embedded] [--rounds 2] [--alone]

Each run has its own tau, quantizers and seed. ``--alone`` also trains each plan on a fleet that is
started for it, and fails if a digest differs.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from fedtier.broker.settings import BrokerKind
from fedtier.config.federation import load_federation
from fedtier.demo.fleet import Fleet
from fedtier.ids import NodeId
from fedtier.render.node_files import render_node_files

SHIPPED = files("firmware_configs") / "federations" / "wearables-3-tier.toml"


@dataclass(frozen=True)
class Plan:
    """What a run changes of the shipped federation."""

    tau: tuple[int, ...]
    seed: int
    levels: tuple[int, ...]


PLANS = (
    Plan(tau=(8, 2, 2), seed=1, levels=(7, 31, 127)),
    Plan(tau=(16, 1, 2), seed=2, levels=(31, 31, 31)),
    Plan(tau=(4, 4, 1), seed=3, levels=(127, 7, 15)),
)


def plan_file(directory: Path, number: int, *, rounds: int) -> Path:
    """The shipped federation with another plan."""
    plan = PLANS[number]
    text = SHIPPED.read_text(encoding="utf-8")
    text = re.sub(r"tau\s*=.*", f"tau = {list(plan.tau)}", text)
    text = re.sub(r"seed\s*=.*", f"seed = {plan.seed}", text)
    text = re.sub(r"rounds\s*=.*", f"rounds = {rounds}", text)
    levels = iter(plan.levels)
    text = re.sub(r"levels\s*=.*", lambda _: f"levels = {next(levels)}", text)
    path = directory / f"plan-{number}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def train(directory: Path, plans: list[Path], *, broker: BrokerKind) -> list[str]:
    """The digests of several runs on one standing fleet."""
    federation = load_federation(plans[0])
    topology = federation.topology
    with Fleet(topology, directory) as fleet:
        urls = fleet.start_brokers(broker, part_bytes=federation.plan.part_bytes)
        texts = render_node_files(
            federation,
            directory=directory,
            federation_file=plans[0],
            broker_urls=urls,
            broker_kind="url",
        )
        for node, text in texts.items():
            place = directory / "nodes" / f"{node}.toml"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
            if node != topology.cloud:
                fleet.start_node(node)
        return [_run(fleet, directory, plan, number) for number, plan in enumerate(plans)]


def _run(fleet: Fleet, directory: Path, plan: Path, number: int) -> str:
    out = directory / f"run-{number}"
    began_s = time.monotonic()
    cloud = fleet.start_node(NodeId("cloud"), "--federation", str(plan), "--out", str(out))
    while (ended := cloud.poll()) is None:
        for node, process in fleet.nodes.items():
            gone = None if process is cloud else process.poll()
            if gone is not None:
                sys.exit(f"{node} {gone.how}:\n{process.log_tail()}")
        time.sleep(0.05)
    if ended.exit_code:
        sys.exit(f"the cloud {ended.how}:\n{cloud.log_tail()}")
    digest = str(json.loads((out / "report.json").read_bytes())["model_digest"])
    print(f"{plan.stem}  {time.monotonic() - began_s:5.1f} s  {digest}", flush=True)
    return digest


def main() -> None:
    """Run it and print the digests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--broker", choices=("mosquitto", "embedded"), default="mosquitto")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--alone", action="store_true", help="also a fresh fleet for each plan")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        plans = [plan_file(root, n, rounds=arguments.rounds) for n in range(len(PLANS))]
        print("on one standing fleet:")
        together = train(root / "standing", plans, broker=arguments.broker)
        if not arguments.alone:
            return
        print("each alone:")
        alone = [
            train(root / f"alone-{n}", [plan], broker=arguments.broker)[0]
            for n, plan in enumerate(plans)
        ]
        if alone != together:
            sys.exit("a digest differs")


if __name__ == "__main__":
    main()
