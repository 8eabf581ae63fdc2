"""What is written can be read: node files of any tree, any TOML value, and `config show`."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.config.federation import Federation, load_federation, parse_federation
from fedtier.config.inspect_file import inspect_file
from fedtier.config.node_file import NodeFile, parse_node_file
from fedtier.config.toml_text import write_document, write_key, write_value
from fedtier.errors import ConfigError
from fedtier.ids import NodeId
from fedtier.render.node_files import render_node_files
from fedtier.topology import Node, Topology

DIRECTORY = Path("/srv/farm")
SHIPPED = Path(__file__).parents[2] / "firmware_configs" / "federations"


@st.composite
def trees(draw: st.DrawFn) -> Topology:
    """Any valid tree of up to five tiers and some twenty nodes."""
    tiers = draw(st.integers(1, 5))
    nodes = [Node(id=NodeId("cloud"), tier=tiers)]
    todo = [nodes[0]]
    while todo:
        parent = todo.pop(0)
        for number in range(draw(st.integers(1, 3))):
            tier = 0 if len(nodes) > 15 else draw(st.integers(0, parent.tier - 1))
            child = Node(id=NodeId(f"n{len(nodes)}-{number}"), tier=tier, parent=parent.id)
            nodes.append(child)
            if tier > 0:
                todo.append(child)
    return Topology(tuple(nodes))


def federation_text(topology: Topology, *, weights: str) -> str:
    """The tree as a person could write it, every tier stated."""
    tables: dict[str, dict[str, object]] = {
        "federation": {"id": "farm", "weights": weights},
        "tree": {cell.parent: cell.children for cell in topology.cells()},
        "model": {"artefact": "package:imu"},
        "plan": {"rounds": 3, "tau": [2] * topology.tiers},
        "data": {"source": "imu", "side": 0, "holdout_percent": 20},
    }
    text = write_document(tables)
    text += "".join('\n[[link]]\ncodec = "identity"\n' for _ in range(topology.tiers))
    for node in topology:
        text += f'\n[[node]]\nid = "{node.id}"\ntier = {node.tier}\n'
        if node.is_device:
            text += f'data = {{ subject = {len(node.id)}, path = "of {node.parent}" }}\n'
    return text


def urls(topology: Topology) -> dict[NodeId, str]:
    return {p: f"mqtt://127.0.0.1:{2000 + n}" for n, p in enumerate(topology.parents())}


def render(federation: Federation) -> dict[NodeId, NodeFile]:
    texts = render_node_files(
        federation,
        directory=DIRECTORY,
        federation_file=DIRECTORY / "federation.toml",
        broker_urls=urls(federation.topology),
        broker_kind="embedded",
        start_brokers=True,
    )
    assert list(texts) == [node.id for node in federation.topology]
    return {
        node_id: parse_node_file(text, where=node_id, directory=Path("/elsewhere"))
        for node_id, text in texts.items()
    }


@given(topology=trees(), weights=st.sampled_from(["devices", "examples"]))
def test_any_tree_survives_being_written_as_node_files_and_read_again(topology, weights):
    text = federation_text(topology, weights=weights)
    federation = parse_federation(text, where="farm.toml", directory=DIRECTORY)
    assert federation.topology == topology
    files = render(federation)
    seen = Topology(
        tuple(
            Node(id=f.id, tier=f.node.tier, parent=NodeId(f.parent.id) if f.parent else None)
            for f in files.values()
        )
    )
    assert seen == topology
    for node_id, file in files.items():
        assert file.members == topology.children(node_id)
        assert file.federation == "farm"
        assert file.node.state_dir == f"/srv/farm/state/{node_id}"
        if file.parent is not None:
            above = files[NodeId(file.parent.id)].cell
            assert above is not None
            assert file.parent.url == above.url
        if file.cell is not None:
            assert (file.cell.kind, file.cell.start) == ("embedded", True)
        if file.data is not None:
            assert file.data.spec == federation.nodes[node_id].data
            assert file.node.weight == ("examples" if weights == "examples" else 1)


def test_the_cloud_alone_is_told_where_the_plan_is():
    federation = load_federation(SHIPPED / "wearables-3-tier.toml")
    files = render(federation)
    assert files[NodeId("cloud")].node.federation_file == "/srv/farm/federation.toml"
    assert files[NodeId("cloud")].node.run_dir == "/srv/farm/run"
    assert [f.id for f in files.values() if f.node.federation_file] == ["cloud"]


def test_every_device_serves_where_the_federation_says_so():
    text = (SHIPPED / "wearables-3-tier.toml").read_text(encoding="utf-8")
    text += '\n[inference]\nprecision = "int8"\n'
    files = render(parse_federation(text, where="f.toml", directory=DIRECTORY))
    serving = {file.id for file in files.values() if file.inference is not None}
    assert serving == {file.id for file in files.values() if file.node.role == "agent"}
    tables = {file.inference for file in files.values() if file.id in serving}
    assert [(t.precision, t.endpoint) for t in tables if t is not None] == [("int8", None)]


def test_a_quorum_of_the_plan_becomes_the_members_a_gateway_waits_for():
    text = (SHIPPED / "factory-2-tier.toml").read_text(encoding="utf-8")
    plan = "[plan]\nquorum = [0.5, 2]"
    federation = parse_federation(text.replace("[plan]", plan), where="f.toml", directory=DIRECTORY)
    files = render(federation)
    assert files[NodeId("cell-1")].members_min == 2
    cloud = files[NodeId("cloud")].cell
    assert cloud is not None
    assert cloud.members_min is None  # it reads the federation file itself


def test_where_all_are_wanted_a_member_added_by_hand_is_waited_for_too():
    gateway = render(load_federation(SHIPPED / "factory-2-tier.toml"))[NodeId("cell-1")].cell
    assert gateway is not None
    assert gateway.members_min is None


def test_a_boards_profile_is_written_into_the_node_file():
    board = render(load_federation(SHIPPED / "factory-2-tier.toml"))[NodeId("wrist-1-0")].board
    assert (board.threads, board.memory_budget_mib, board.nice) == (1, 160, 10)


def test_all_parents_without_a_broker_are_refused_by_name():
    text = federation_text(
        load_federation(SHIPPED / "factory-2-tier.toml").topology, weights="devices"
    )
    federation = parse_federation(text, where="farm.toml", directory=DIRECTORY)
    some = {NodeId("cloud"): "mqtt://127.0.0.1:2000"}
    cells = [cell for cell in federation.topology.parents() if cell != "cloud"]
    assert len(cells) > 1
    with pytest.raises(ConfigError) as caught:
        render_node_files(
            federation,
            directory=DIRECTORY,
            federation_file=DIRECTORY / "f.toml",
            broker_urls=some,
        )
    assert f"{', '.join(map(repr, map(str, cells)))} have no broker address" in str(caught.value)
    assert f'id = "{{{",".join(cells)}}}" and broker_url = "mqtt://$1' in str(caught.value)


LOGIN = """
[broker]
password_file = "/etc/fedtier/password"
cafile = "~/ca.crt"

[[node]]
id = "{cloud,cell-1}"
broker_url = "mqtts://$1.local"

[[node]]
id = "cell-{2,3}"
broker_url = "mqtt://cell-$1.local"

[[node]]
id = "wrist-1-0"
password_file = "secrets/wrist"
"""


def shipped_with_logins() -> Federation:
    shipped = (SHIPPED / "factory-2-tier.toml").read_text(encoding="utf-8")
    head, _, tail = shipped.partition("# Where the brokers are")
    text = head + LOGIN + "[evaluation]" + tail.partition("[evaluation]")[2]
    return parse_federation(text, where="f.toml", directory=DIRECTORY)


def logins(text: str) -> dict[str, dict[str, object]]:
    keys = {"url", "username", "password_file", "cafile", "certfile", "keyfile"}
    document = tomllib.loads(text)
    return {
        table: {k: v for k, v in document[table].items() if k in keys}
        for table in ("parent", "cell")
        if table in document
    }


def test_how_nodes_log_in_is_written_as_it_stands_and_tls_only_where_there_is_any():
    texts = render_node_files(
        shipped_with_logins(), directory=DIRECTORY, federation_file=DIRECTORY / "f.toml"
    )
    password = {"password_file": "/etc/fedtier/password"}
    tls = {**password, "cafile": "~/ca.crt"}
    assert logins(texts[NodeId("cloud")]) == {"cell": {"url": "mqtts://cloud.local", **tls}}
    assert logins(texts[NodeId("cell-2")]) == {
        "parent": {"url": "mqtts://cloud.local", **tls},
        "cell": {"url": "mqtt://cell-2.local", **password},
    }
    assert logins(texts[NodeId("wrist-1-0")]) == {
        "parent": {"url": "mqtts://cell-1.local", **tls, "password_file": "secrets/wrist"}
    }
    for node, text in texts.items():
        parse_node_file(text, where=node, directory=Path("/etc/fedtier"))


def test_a_broker_that_is_given_has_none_of_the_files_passwords():
    federation = shipped_with_logins()
    texts = render_node_files(
        federation,
        directory=DIRECTORY,
        federation_file=DIRECTORY / "f.toml",
        broker_urls=urls(federation.topology),
    )
    found = [login for text in texts.values() for login in logins(text).values()]
    assert all(login.keys() == {"url"} for login in found)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_what_show_prints_is_the_same_federation_again(path):
    shown = inspect_file(path).shown
    again = parse_federation(shown, where=str(path), directory=path.parent)
    assert again == load_federation(path)


values = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(value=values, name=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_value_written_as_toml_reads_back_the_same(value, name):
    assert tomllib.loads(f"{write_key(name)} = {write_value(value)}") == {name: value}


def test_a_document_leaves_out_what_is_absent_and_tables_that_are_empty():
    text = write_document(
        {"a": {"x": 1, "y": None}, "b": {}, "c": {"z": None}}, comment="two\nlines"
    )
    assert text == "# two\n# lines\n\n[a]\nx = 1\n"
