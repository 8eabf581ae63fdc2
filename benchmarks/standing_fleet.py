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
from importlib.resources import files
from pathlib import Path

from fedtier.config.federation import load_federation
from fedtier.config.render import render_node_files
from fedtier.demo.fleet import Fleet

SHIPPED = files("firmware_configs") / "federations" / "wearables-3-tier.toml"
PLANS = (
    {"tau": [8, 2, 2], "seed": 1, "levels": [7, 31, 127]},
    {"tau": [16, 1, 2], "seed": 2, "levels": [31, 31, 31]},
    {"tau": [4, 4, 1], "seed": 3, "levels": [127, 7, 15]},
)


def plan_file(directory: Path, number: int, *, rounds: int) -> Path:
    """The shipped federation with another plan."""
    plan = PLANS[number]
    text = SHIPPED.read_text(encoding="utf-8")
    text = re.sub(r"tau\s*=.*", f"tau = {plan['tau']}", text)
    text = re.sub(r"seed\s*=.*", f"seed = {plan['seed']}", text)
    text = re.sub(r"rounds\s*=.*", f"rounds = {rounds}", text)
    levels = iter(plan["levels"])
    text = re.sub(r"levels\s*=.*", lambda _: f"levels = {next(levels)}", text)
    path = directory / f"plan-{number}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def train(directory: Path, plans: list[Path], *, broker: str) -> list[str]:
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
    cloud = fleet.start_node("cloud", "--federation", str(plan), "--out", str(out))
    while cloud.poll() is None:
        for node, process in fleet.nodes.items():
            if process is not cloud and process.poll() is not None:
                sys.exit(f"{node} {process.ended.how}:\n{process.log_tail()}")
        time.sleep(0.05)
    if cloud.ended.exit_code:
        sys.exit(f"the cloud {cloud.ended.how}:\n{cloud.log_tail()}")
    digest = json.loads((out / "report.json").read_bytes())["model_digest"]
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
