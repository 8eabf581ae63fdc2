"""Brokers that know everybody by certificate or password, and somebody among them who forges."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from intruder import EVIL, Intruder
from testbed import Testbed

from fedtier.ids import NodeId, hex64

CHILD_SAYS = ("presence", "update")  # and what is said at QoS 0, which no broker answers
PARENT_SAYS = ("head", "presence", "model")
THREE_TIERS = {
    "tree": {"cloud": ["region"], "region": ["west", "east"], "west": ["w-0", "w-1"],
             "east": ["e-0"]},
    "links": [{"codec": "qsgd", "levels": 7, "bucket": 128}, {"codec": "qsgd", "levels": 31},
              {"codec": "qsgd", "levels": 127}],
    "tau": (2, 2, 2),
}  # fmt: skip


@pytest.mark.parametrize("guard", ["certificates", "passwords"])
def test_a_tree_behind_guarded_brokers_ends_in_the_same_model(testbed, digest_alone, guard):
    bed = testbed(guard=guard, **THREE_TIERS)
    bed.start_fleet()
    assert bed.run()["model_digest"] == digest_alone(**THREE_TIERS)
    assert all(
        url.startswith("mqtts" if guard == "certificates" else "mqtt:") for url in bed.urls.values()
    )
    for program in bed.nodes.values():
        assert "refused" not in program.log, program.log


class Thief(Intruder):
    """Logs in to one broker as one of its clients, and forges what the others say there."""

    def __init__(self, bed: Testbed, connect: Callable[..., Any], cell: str, me: str) -> None:
        credentials = bed.guard.credentials(me)
        super().__init__(bed, connect, cell, f"thief-{me}", credentials=credentials)
        self._me = me
        others = [child for child in bed.topology.children(self.cell) if child != me]
        self.others = others or [NodeId("nobody")]

    def forge(self) -> None:
        """Everything once, for the head of now."""
        head, forger = self.head, self.forger
        if head is not None:
            self.say(
                itertools.chain(
                    *(forger.as_child(head, other) for other in self.others),
                    forger.as_parent(head, [*self.others, self._me]),
                    forger.refusable(head, self._me),
                    forger.garbage(head, self._me, retain=True),
                )
            )

    @property
    def refused(self) -> set[str]:
        """What the broker did not let it say: topics without the cell, and without parts."""
        topics = {topic.split("/", 4)[4] for topic, _ in self.inbox.refusals if topic}
        return {"/".join(topic.split("/")[:2]) for topic in topics}

    @property
    def heard_forged(self) -> list[str]:
        """Topics other than its own on which it heard what it said itself."""
        mine = {(topic, payload) for topic, payload, _ in self.sent}
        return [t for t, p, _ in self.inbox.messages if (t, p) in mine]


@pytest.mark.parametrize("guard", ["certificates", "passwords"])
def test_whoever_forges_with_a_members_own_credentials_changes_nothing(
    testbed, connect, digest_alone, guard
):
    wanted = {**THREE_TIERS, "rounds": 4}
    bed = testbed(guard=guard, **wanted)
    bed.start_fleet()
    thieves = [Thief(bed, connect, "west", "w-1"), Thief(bed, connect, "region", "east")]
    out = bed.directory / "out"
    bed.start_cloud("--out", out)
    while bed.nodes["cloud"].running and not bed._dead():
        for thief in thieves:
            thief.forge()
    assert bed.finished(out)["model_digest"] == digest_alone(**wanted)
    for thief in thieves:
        assert len(thief.sent) > 500, "it was too late"
        others = {f"{other}/{said}" for other in thief.others for said in CHILD_SAYS}
        assert others | {f"all/{said}" for said in PARENT_SAYS} <= thief.refused
        assert thief.heard_forged == []
        log = bed.nodes[thief.cell].log
        assert "garbage" in log
        assert "update rejected" in log
        assert hex64(EVIL) not in log  # no presence or head in another's name arrived
    for node, program in bed.nodes.items():
        lines = program.log.splitlines()
        assert len(lines) < 200, f"{node} wrote {len(lines)} lines"
        assert "Traceback" not in program.log
