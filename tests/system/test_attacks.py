"""Whoever may write to the brokers of a tree, or kills what he can: the model is the same."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Sequence

import pytest
from intruder import Intruder, Packet
from small_federation import IDENTITY
from testbed import Testbed

from fedtier.wire.topics import ROOT

THREE_TIERS = {
    "tree": {"cloud": ["region"], "region": ["west", "east"], "west": ["w-0", "w-1"],
             "east": ["e-0"]},
    "links": [IDENTITY, {"codec": "qsgd", "levels": 31}, IDENTITY],
    "tau": (2, 2, 2),
}  # fmt: skip
TREES = {"two tiers": {"links": [IDENTITY] * 2, "tau": (4, 2)}, "three tiers": THREE_TIERS}


def _run_among(
    bed: Testbed,
    intruders: Sequence[Intruder],
    attack: Callable[[Intruder], None],
    *,
    first: int = 0,
) -> str:
    """A run during which every intruder attacks again and again; the digest of its model.

    A device answers only when each of them has said so many messages: ``first``.
    """
    out = bed.directory / "out"
    bed.start_fleet()
    last = bed.nodes["w-0"]
    bed.wait_until(lambda: bed.nodes["west"].log.count("member ready") == 2, "west's cell is ready")
    last.signal(signal.SIGSTOP)
    bed.start_cloud("--out", out)
    waits = True
    while bed.nodes["cloud"].running and not bed._dead():
        for intruder in intruders:
            attack(intruder)
        if waits and all(len(intruder.sent) >= first for intruder in intruders):
            last.signal(signal.SIGCONT)
            waits = False
    digest: str = bed.finished(out)["model_digest"]
    for node, program in bed.nodes.items():
        assert "Traceback" not in program.log
        lines = program.log.splitlines()
        assert len(lines) < 150, f"{node} wrote {len(lines)} lines"
    return digest


@pytest.mark.parametrize("tree", TREES)
def test_strangers_who_know_the_protocol_change_nothing(testbed, connect, digest_alone, tree):
    """Anonymous, on every broker, since before the nodes came; parts are small, so that updates
    and models are on their way for long."""
    wanted = {**TREES[tree], "rounds": 6, "part_bytes": 4096}
    bed = testbed(**wanted)
    strangers = [Intruder(bed, connect, cell, "stranger") for cell in bed.urls]
    for stranger in strangers:
        members = bed.topology.children(stranger.cell)
        planted = ("all/head", "all/presence", *(f"{member}/presence" for member in members))
        stranger.say(stranger.forger.raw(place, b"\xff" * 60, retain=True) for place in planted)

    def attack(stranger: Intruder) -> None:
        head = stranger.head
        if head is not None:
            for member in bed.topology.children(stranger.cell):
                stranger.say(stranger.forger.refusable(head, member))
                stranger.say(stranger.forger.garbage(head, member, retain=True))
            stranger.say(stranger.forger.refusable(head, "nobody"))
            stranger.say(stranger.forger.garbage(head, "nobody"))

    assert _run_among(bed, strangers, attack, first=300) == digest_alone(**wanted)
    logs = [bed.nodes[stranger.cell].log for stranger in strangers]
    assert all("garbage" in log for log in logs)
    assert any("stranger  node=nobody" in log for log in logs)
    assert any("update rejected" in log for log in logs)


@pytest.mark.parametrize("tree", TREES)
def test_parts_that_come_again_and_in_any_order_change_nothing(
    testbed, connect, digest_alone, tree
):
    wanted = {**TREES[tree], "rounds": 16, "part_bytes": 4096}
    bed = testbed(**wanted)
    echoes = [Intruder(bed, connect, cell, "echo") for cell in bed.urls]
    dice = random.Random(1)
    read: dict[str, int] = {}

    def attack(echo: Intruder) -> None:
        messages = echo.inbox.messages
        fresh = messages[read.get(echo.cell, 0) :]
        read[echo.cell] = len(messages)
        parts: list[Packet] = [(t, p, False) for t, p, _ in fresh if t[-1].isdigit()]
        again = [part for part in parts if part not in echo.sent[-2000:]]
        echo.say(dice.sample(again, len(again)))
        echo.say(dice.sample(again, len(again)))

    assert _run_among(bed, echoes, attack) == digest_alone(**wanted)
    for echo in echoes:
        assert len(echo.sent) > 200, "it was too late"


def test_a_flood_that_makes_a_broker_drop_messages_stops_no_run_for_good(
    testbed, connect, digest_alone
):
    """mosquitto may then deliver no more to a gateway, though the connection stays up."""
    wanted = {"rounds": 6, "tau": (8, 2), "plan": "beacon_s = 2.0"}
    bed = testbed(**wanted)
    out = bed.directory / "out"
    bed.start_fleet()
    flooders = [connect(bed.urls["west"], f"flooder-{number}")[0] for number in range(2)]
    bed.start_cloud("--out", out)
    topic = f"{ROOT}/{bed.federation.id}/west/w-0/want"
    flooded_until_s = time.monotonic() + 20
    while bed.nodes["cloud"].running and time.monotonic() < flooded_until_s:
        for flooder in flooders:
            if flooder.queued_bytes < 2**20:
                for _ in range(50):
                    flooder.publish(topic, b"flood" * 60, qos=0, retain=False)
    assert bed.finished(out)["model_digest"] == digest_alone(**wanted)
    assert bed.nodes["west"].log.count("garbage") < 20


class Killer:
    """Kills nodes and brokers as power cuts would, and starts them again."""

    def __init__(self, bed: Testbed, seed: int) -> None:
        self._bed = bed
        self._dice = random.Random(seed)
        self._brokers = [f"{parent}'s broker" for parent in bed.topology.parents()]
        self._all = [*(str(node.id) for node in bed.topology), *self._brokers]

    def strike(self) -> list[str]:
        """At some moment, some of them; says whom."""
        time.sleep(self._dice.choice((0.05, 0.5, 2.0)) * self._dice.random())  # the moment itself
        victims = self._dice.sample(self._all, self._dice.choice((1, 1, 2, 4)))
        for victim in victims:
            if victim in self._brokers:
                self._bed.brokers[victim.split("'")[0]].kill()
            else:
                self._bed.nodes[victim].kill()
        for victim in victims:
            self._start(victim)
        return victims

    def _start(self, victim: str) -> None:
        bed = self._bed
        if victim in self._brokers:
            bed.restart_broker(victim.split("'")[0])
        elif victim == bed.topology.cloud:
            bed.start_cloud("--out", bed.directory / "out")
        else:
            bed.start(victim)


@pytest.mark.parametrize(("tree", "seed"), [("two tiers", 1), ("three tiers", 2)])
def test_whoever_is_killed_at_whatever_moments_the_run_ends_in_the_same_model(
    testbed, digest_alone, tree, seed
):
    wanted = {**TREES[tree], "rounds": 24}
    bed = testbed(**wanted)
    killer = Killer(bed, seed)
    out = bed.directory / "out"
    bed.start_fleet()
    bed.start_cloud("--out", out)
    struck = []
    for _ in range(8):
        bed.wait_until(lambda: bed.nodes["cloud"].running, "the cloud is there")
        struck.append(killer.strike())
    assert len(bed.rows(out)) < wanted["rounds"], "it was through too early"
    assert bed.finished(out)["model_digest"] == digest_alone(**wanted), struck
    assert [row["round"] for row in bed.rows(out)] == list(range(wanted["rounds"])), struck
    assert all("Traceback" not in program.log for program in bed.nodes.values())
