"""The benchmarks measure the demo's federation, or one that differs from it as they say."""

from __future__ import annotations

from benchmarks.federations import (
    DEMO,
    federation_of,
    read,
    text_of,
    with_identity_links,
    with_people,
    with_plan,
)
from benchmarks.held_out_pairs import PAIRS, PEOPLE, fold
from fedtier.config.federation import Federation, load_federation


def load(document) -> Federation:
    return federation_of(document, where="benchmark")


def test_a_document_written_out_is_the_same_federation():
    shipped, written = load_federation(DEMO), load(read())
    assert written.topology == shipped.topology
    assert (written.plan, written.links, written.nodes) == (
        shipped.plan, shipped.links, shipped.nodes,
    )  # fmt: skip
    assert written.evaluation == shipped.evaluation


def test_the_demo_s_own_people_give_the_demo_s_own_federation():
    dealt = load(with_people(read(), train=range(1, 9), held_out=[9, 10]))
    shipped = load_federation(DEMO)
    assert dealt.topology == shipped.topology
    assert dealt.evaluation == shipped.evaluation
    assert {n: e.data for n, e in dealt.nodes.items()} == {
        n: e.data for n, e in shipped.nodes.items()
    }


def test_float32_links_change_nothing_else():
    floats, shipped = load(with_identity_links(read())), load(read())
    assert [link.codec for link in floats.links] == ["identity"] * 3
    assert (floats.plan, floats.topology) == (shipped.plan, shipped.topology)


def test_a_plan_keeps_what_it_is_not_told():
    plan = load(with_plan(read(), seed=5, rounds=None)).plan
    assert (plan.seed, plan.rounds) == (5, load(read()).plan.rounds)


def test_every_person_is_held_out_once_and_never_trained_on():
    assert sorted(person for pair in PAIRS for person in pair) == list(PEOPLE)
    for pair in PAIRS:
        federation = load(fold(read(), pair, seed=1, rounds=None))
        trained = {e.data["subject"] for e in federation.nodes.values() if e.data}
        assert trained == set(PEOPLE) - set(pair)
        assert federation.evaluation["subjects"] == list(pair)
        assert len(federation.topology.devices()) == 16


def test_text_of_escapes_what_toml_would_not_take():
    assert text_of({"a b": 'say "x"\n'}) == '"a b" = "say \\"x\\"\\n"\n'
