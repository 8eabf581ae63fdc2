"""Of two parents of one cell one stays, and the other says why it goes."""

from __future__ import annotations

import numpy as np
import pytest
from crooked_world import make_world, mean_of

from fedtier.core.effects import Send, Stop
from fedtier.core.roster import Lookout
from fedtier.errors import EXIT_CONFIG
from fedtier.ids import BootNonce, NodeId
from fedtier.wire.messages import Presence

OWN = BootNonce(5)


def said(nonce, *, ready=True):
    return Presence(status="online", nonce=nonce, ready=ready)


@pytest.fixture
def lookout():
    """It has asked, and heard itself."""
    lookout = Lookout(node=NodeId("g"), nonce=OWN)
    lookout.connected(0.0)
    assert lookout.hear(said(OWN, ready=False), 0.1, retained=False) == []
    return lookout


@pytest.mark.covers("H-10")
def test_late_words_of_an_earlier_boot_are_no_second_parent(lookout):
    """Two copies on a connection that is gone; who is asked again would answer."""
    (again,) = lookout.hear(said(BootNonce(9)), 1.0, retained=False)
    assert isinstance(again, Send)
    assert lookout.hear(said(BootNonce(9)), 1.1, retained=False) == [], "not yet an answer"
    assert lookout.hear(said(OWN, ready=False), 1.2, retained=False) == []
    assert not lookout.tick(2.5), "it listens as long again"
    assert lookout.tick(3.0)
    assert lookout.done


@pytest.mark.covers("H-10")
def test_who_answers_twice_holds_the_cell(lookout):
    lookout.hear(said(BootNonce(9)), 1.0, retained=False)
    lookout.hear(said(OWN, ready=False), 1.2, retained=False)
    (stop,) = lookout.hear(said(BootNonce(9)), 1.3, retained=False)
    assert isinstance(stop, Stop)
    assert stop.exit_code == EXIT_CONFIG


def test_who_holds_the_cell_stays_whatever_a_starting_one_says(lookout):
    assert lookout.tick(2.0)
    for _ in range(2):
        note, answer = lookout.hear(said(BootNonce(1), ready=False), 9.0, retained=False)
        assert note.event == "second parent"
        assert isinstance(answer, Send)
    assert not lookout.tick(99.0), "it is not looking"


@pytest.mark.covers("H-10")
def test_a_clone_of_a_parent_finds_the_first_and_exits_naming_both(tmp_path):
    world = make_world(tmp_path, 2, 2, world_options={"work_s": lambda node: 10.0})
    world.run(until=lambda world: bool(world.trained))
    first = world.nodes["g1-0"]
    clone = world.start("g1-0", client="-clone")
    world.run()
    assert clone.stopped.exit_code == EXIT_CONFIG
    assert f"{clone.nonce:016x}" in clone.stopped.reason
    assert f"{first.nonce:016x}" in clone.stopped.reason
    assert first.stopped is None
    np.testing.assert_allclose(world.model, mean_of(["d0", "d1", "d2", "d3"]), atol=1e-6)


def test_of_two_parents_that_start_together_one_stays(tmp_path):
    world = make_world(tmp_path, 2, 2)
    clone = world.start("cloud", client="-clone")
    world.run()
    assert clone.stopped.exit_code == EXIT_CONFIG
    assert world.cloud.stopped is None


def test_two_parents_that_missed_each_other_find_out_at_the_next_sign_of_life(tmp_path):
    """Children may have obeyed the other meanwhile: a restart of the one that stayed heals that."""
    world = make_world(tmp_path, 3, world_options={"work_s": lambda node: 200.0})
    broker = world.brokers["cloud"]
    broker.fault = lambda d: () if d.topic.endswith("all/presence") and world.now_s < 5 else (0,)
    clone = world.start("cloud", client="-clone")
    world.run(until=lambda world: clone.stopped is not None)
    assert clone.stopped.exit_code == EXIT_CONFIG
    assert world.now_s < 40
    assert world.cloud.stopped is None
    world.restart("cloud")
    world.run()
    np.testing.assert_allclose(world.model, mean_of(["d0", "d1", "d2"]), atol=1e-6)


def test_a_parents_own_last_boot_is_no_second_parent(tmp_path):
    world = make_world(tmp_path, 2, 2, world_options={"work_s": lambda node: 10.0})
    world.run(until=lambda world: bool(world.trained))
    for node in ("cloud", "g1-0", "cloud", "g1-1"):
        world.restart(node)
    world.run()
    assert all(node.stopped is None for node in world.nodes.values())
