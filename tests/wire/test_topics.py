"""Topics are written and read in one way, and nothing else is a topic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_examples import UPDATE_PART
from wire_strategies import ids

from fedtier.errors import WireError
from fedtier.sim.broker import topic_matches
from fedtier.wire.packets import decode_packet, encode_packet
from fedtier.wire.topics import (
    ALL,
    FOR_ALL,
    FOR_ONE,
    PART_CHANNELS,
    PLAIN_CHANNELS,
    QOS,
    RETAINED,
    Topic,
    child_filters,
    parent_filters,
)

numbers = st.integers(0, 2**32 - 1)


@st.composite
def topics(draw):
    channel = draw(st.sampled_from(sorted(QOS)))
    nodes = [st.just(ALL)] * (channel in FOR_ALL) + [ids] * (channel in FOR_ONE)
    return Topic(
        federation=draw(ids), cell=draw(ids), node=draw(st.one_of(nodes)), channel=channel,
        part=draw(numbers) if channel in PART_CHANNELS else None,
    )  # fmt: skip


@pytest.mark.covers("P-1")
@given(topic=topics())
def test_a_topic_comes_back_from_its_text(topic):
    assert Topic.parse(str(topic)) == topic
    assert str(topic).startswith("fedtier/v1/")


@pytest.mark.covers("P-1")
@given(text=st.text(max_size=80) | st.from_regex(r"fedtier/v1(/[a-z0-9+#.-]{0,9}){0,7}"))
def test_any_other_text_is_refused_or_is_the_one_way_to_write_a_topic(text):
    try:
        topic = Topic.parse(text)
    except WireError:
        return
    assert str(topic) == text


@pytest.mark.covers("P-1")
@pytest.mark.parametrize(
    "text",
    [
        "", "/", "fedtier", "fedtier/v1", "fedtier/v2/f/c/n/want", "Fedtier/v1/f/c/n/want",
        "fedtier/v1/f/c/n", "fedtier/v1/f/c/n/", "fedtier/v1/f/c/n/want/",
        "fedtier/v1/f/c/n/want/1",
        "/fedtier/v1/f/c/n/want", "fedtier/v1/f/c/n/update", "fedtier/v1/f/c/n/update/",
        "fedtier/v1/f/c/n/update/-1", "fedtier/v1/f/c/n/update/1/2", "fedtier/v1/f/c/n/update/01",
        "fedtier/v1/f/c/n/update/+1", "fedtier/v1/f/c/n/update/1_0",
        "fedtier/v1/f/c/n/update/\u0661",
        "fedtier/v1/f/c/n/update/99999999999", "fedtier/v1/f/c/n/update/1\n",
        "fedtier/v1/all/c/n/want", "fedtier/v1/f/all/n/want", "fedtier/v1/f/operator/n/want",
        "fedtier/v1/f/c/operator/want", "fedtier/v1/f/c/all/want", "fedtier/v1/f/c/all/ack",
        "fedtier/v1/f/c/all/update/0", "fedtier/v1/f/c/n/head", "fedtier/v1/f/c/../want",
        "fedtier/v1/f/c/N/want", "fedtier/v1/f/c/n\n/want", "fedtier/v1/f//n/want",
        "fedtier/v1/f/c/+/want", "fedtier/v1/f/c/#", "fedtier/v1/f/c/" + "n" * 41 + "/want",
        "fedtier/v1/f/c/n/" + "x" * 60_000, "\0",
    ],
)  # fmt: skip
def test_what_is_no_topic_is_refused(text):
    with pytest.raises(WireError):
        Topic.parse(text)


def heard(topic, filters):
    return any(topic_matches(topic, topic_filter) for topic_filter, _ in filters)


@pytest.mark.covers("P-3")
@given(topic=topics(), child=ids)
def test_a_child_hears_what_is_for_all_and_for_it_and_nothing_else(topic, child):
    filters = child_filters(topic.federation, cell=topic.cell, node=child)
    own_word = topic.channel in ("presence", "want", "update")
    for_it = topic.node == ALL or (topic.node == child and not own_word)
    assert heard(str(topic), filters) == for_it


@pytest.mark.covers("P-3")
@given(topic=topics())
def test_a_parent_hears_what_its_children_say_and_presences(topic):
    filters = parent_filters(topic.federation, cell=topic.cell)
    assert heard(str(topic), filters) == (topic.channel in ("presence", "update", "want"))


@given(topic=topics(), other=ids, child=ids)
def test_nobody_hears_another_cell_or_federation(topic, other, child):
    for federation, cell in ((topic.federation, other), (other, topic.cell)):
        if (federation, cell) != (topic.federation, topic.cell):
            assert not heard(str(topic), child_filters(federation, cell=cell, node=child))
            assert not heard(str(topic), parent_filters(federation, cell=cell))


def test_a_filter_asks_for_the_quality_its_channel_is_published_with():
    filters = child_filters("f", cell="c", node="n") + parent_filters("f", cell="c")
    for topic_filter, qos in filters:
        assert qos == QOS[topic_filter.split("/")[5]]


def test_every_channel_is_plain_or_in_parts_and_only_plain_ones_are_retained():
    assert frozenset(QOS) == PLAIN_CHANNELS | PART_CHANNELS == FOR_ALL | FOR_ONE
    assert PLAIN_CHANNELS.isdisjoint(PART_CHANNELS)
    assert RETAINED <= PLAIN_CHANNELS


def test_a_part_that_came_on_another_parts_topic_is_refused():
    text, payload, _, _ = encode_packet(UPDATE_PART, federation="f", cell="c", node="n")
    assert text == "fedtier/v1/f/c/n/update/2"
    with pytest.raises(WireError, match="part 2 came on the topic of part 1"):
        decode_packet(Topic.parse("fedtier/v1/f/c/n/update/1"), payload)
