"""What the logs of real processes tell whoever looks after a test bed."""

from __future__ import annotations

import json
import re

TAU, ROUNDS = (2, 2), 2
ITERATIONS = TAU[1] * ROUNDS


def lines(log: str, event: str) -> list[dict[str, str]]:
    """The fields of every line of an event."""
    pairs = r"(\w+)=('[^']*'|\S+)"
    return [
        dict(re.findall(pairs, line.partition(f" {event}  ")[2]))
        for line in log.splitlines()
        if f" {event}  " in line
    ]


def test_a_fleet_says_whom_it_waits_for_and_every_node_what_it_does(testbed):
    bed = testbed(tau=TAU, rounds=ROUNDS)
    bed.start("west", "east", "w-1", "e-0")
    out = bed.directory / "out"
    bed.start_cloud("--out", out)
    log = {node: lambda node=node: bed.nodes[node].log for node in ("cloud", "west", "w-1")}
    bed.wait_until(lambda: lines(log["west"](), "waiting for members"), "west says who is missing")
    bed.wait_until(lambda: lines(log["cloud"](), "waiting for members"), "and so does the cloud")
    (missed,), (not_ready,) = (
        lines(log[node](), "waiting for members") for node in ("west", "cloud")
    )
    assert missed == {"seconds": "10", "ready": "1", "needed": "2", "missing": "w-0"}
    assert not_ready == {"seconds": "10", "ready": "1", "needed": "2", "not_ready": "west"}
    bed.start("w-0")
    report = bed.finished(out)

    for node in ("west", "cloud"):
        assert len(lines(log[node](), "waiting is over")) == 1
    cloud = lines(log["cloud"](), "round closed")
    assert [row["path"] for row in cloud] == ["r0", "r1"]
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [float(row["accuracy"]) for row in cloud] == [round(row["accuracy"], 4) for row in rows]
    (finished,) = lines(log["cloud"](), "run finished")
    assert finished["model"] == report["model_digest"][:12]

    assert len(lines(log["west"](), "iteration closed")) == ITERATIONS + 1  # and the evaluation
    assert len(lines(log["west"](), "answered")) == ROUNDS + 1
    assert {row["node"] for row in lines(log["west"](), "member ready")} == {"w-0", "w-1"}

    trained = lines(log["w-1"](), "trained")
    assert [row["path"] for row in trained] == ["r0.0", "r0.1", "r1.0", "r1.1"]
    assert all(row["steps"] == "2" and float(row["training_loss"]) > 0 for row in trained)
    assert all(int(row["bytes"]) > 1000 and float(row["seconds"]) >= 0 for row in trained)
    (evaluated,) = lines(log["w-1"](), "evaluated")
    assert 0 <= float(evaluated["accuracy"]) <= 1

    for node, program in bed.nodes.items():
        (started,) = lines(program.log, "started")
        assert (started["node"], int(started["pid"])) == (node, program.pid)
        long = set(re.findall(r"\b[0-9a-f]{13,}\b", program.log))
        assert long <= {report["run"]}, "a digest is told by 12 digits"
        assert "WARNING" not in program.log
