"""A node file: one process's own facts, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedtier.config.node_file import NodeFile, load_node_file, parse_node_file
from fedtier.errors import ConfigError

AGENT = """
[node]
id = "cow-1"
role = "agent"
federation = "farm"
tier = 0
state_dir = "state"
artefact = "package:imu"

[parent]
id = "north"
url = "mqtt://north.local:1883"

[data]
source = "imu"
path = "cow.npz"
subject = 1
side = 0
"""
GATEWAY = """
[node]
id = "north"
role = "gateway"
federation = "farm"
tier = 1
state_dir = "/var/lib/fedtier"

[parent]
id = "cloud"
url = "mqtts://cloud.example:8883"
cafile = "ca.crt"
certfile = "north.crt"
keyfile = "/etc/keys/north.key"

[cell]
url = "mqtt://127.0.0.1:1883"
password_file = "password"
members = ["cow-1", "cow-2"]
"""
CLOUD = """
[node]
id = "cloud"
role = "cloud"
federation = "farm"
tier = 2
state_dir = "state"
run_dir = "run"
federation_file = "federation.toml"
artefact = "models/cow"

[cell]
url = "mqtt://127.0.0.1:1883"
kind = "mosquitto"
start = true
members = ["north"]
"""


def read(text: str) -> NodeFile:
    return parse_node_file(text, where="n.toml", directory=Path("/etc/fedtier"))


def test_an_agents_file_gives_its_parent_data_and_directories():
    file = read(AGENT)
    assert (file.id, file.federation, file.node.role, file.node.tier) == (
        "cow-1",
        "farm",
        "agent",
        0,
    )
    assert file.parent is not None
    assert (file.parent.id, file.parent.url) == ("north", "mqtt://north.local:1883")
    assert file.data is not None
    assert file.data.spec == {
        "source": "imu",
        "path": "/etc/fedtier/cow.npz",
        "subject": 1,
        "side": 0,
    }
    assert file.node.state_dir == "/etc/fedtier/state"
    assert file.node.artefact == "package:imu"
    assert file.node.weight == 1
    assert file.cell is None
    assert file.members == ()
    assert (file.board.threads, file.board.memory_budget_mib, file.board.nice) == (1, None, 0)


def test_a_gateways_file_gives_both_its_sides():
    file = read(GATEWAY)
    assert file.parent is not None
    assert file.parent.certfile == "/etc/fedtier/north.crt"
    assert file.parent.keyfile == "/etc/keys/north.key"
    assert file.parent.username is None
    assert file.cell is not None
    assert file.members == ("cow-1", "cow-2")
    assert (file.cell.kind, file.cell.start) == ("url", False)
    assert file.members_min == 2  # all, unless the file says otherwise
    assert read(GATEWAY.replace("members =", "members_min = 1\nmembers =")).members_min == 1


def test_a_device_serves_where_its_file_says_and_nobody_else_does():
    assert read(AGENT).inference is None
    table = read(AGENT + "[inference]\n").inference
    assert table is not None
    assert (table.endpoint, table.precision) == (None, "float32")
    for given, found in (("s", "/etc/fedtier/s"), ("127.0.0.1:7070", "127.0.0.1:7070")):
        table = read(AGENT + f'[inference]\nendpoint = "{given}"').inference
        assert table is not None
        assert table.endpoint == found
    for other in (GATEWAY, CLOUD):
        with pytest.raises(ConfigError, match=r"\[inference\] means nothing for role"):
            read(other + "[inference]\n")
    with pytest.raises(ConfigError, match=r"\[inference\] endpoint = \"0.0.0.0:1\": the host"):
        read(AGENT + '[inference]\nendpoint = "0.0.0.0:1"')
    with pytest.raises(ConfigError, match=r"board\.accuracy_drop_max|accuracy_drop_max"):
        read(GATEWAY + "[board]\naccuracy_drop_max = 0.1")


def test_any_node_may_step_back_for_others():
    assert read(GATEWAY + "[board]\nnice = 5").board.nice == 5
    assert read(CLOUD + "[board]\nnice = 5").board.nice == 5


@pytest.mark.parametrize(
    "written",
    [
        '"mqtt://u:tomato@north"',
        '"u:tomato@north:1883"',
        '"http://u:to/mato@north"',
        '["mqtt://u:tomato@n"]',
    ],
)
def test_a_password_in_an_address_is_not_repeated_in_the_error(written):
    with pytest.raises(ConfigError, match=r"\[parent\] url") as caught:
        read(AGENT.replace('"mqtt://north.local:1883"', written))
    assert "mato" not in str(caught.value)


def test_a_password_goes_with_the_nodes_id_unless_a_name_is_given():
    cell = read(GATEWAY).cell
    assert cell is not None
    assert (cell.username, cell.password_file) == ("north", "/etc/fedtier/password")
    named = read(GATEWAY.replace("password_file", 'username = "n"\npassword_file')).cell
    assert named is not None
    assert named.username == "n"


def test_a_clouds_file_gives_the_federation_file_and_the_run():
    file = read(CLOUD)
    assert file.parent is None
    assert file.node.federation_file == "/etc/fedtier/federation.toml"
    assert file.node.run_dir == "/etc/fedtier/run"
    assert file.node.artefact == "/etc/fedtier/models/cow"


def test_a_program_refuses_the_file_of_another_role(tmp_path):
    path = tmp_path / "gw.toml"
    path.write_text(GATEWAY, encoding="utf-8")
    assert load_node_file(path, role="gateway").id == "north"
    with pytest.raises(
        ConfigError, match=r"but this is the agent program\. Run `fedtier gateway run"
    ):
        load_node_file(path, role="agent")


WRONG = {
    "plan in a node file": (AGENT + "\n[plan]\nrounds = 2", "plan is no table", "Known: node"),
    "unknown key": (AGENT.replace("artefact", "artifact"), "[node] artifact", "'artefact'"),
    "reserved id": (AGENT.replace('"cow-1"', '"all"'), "[node] id", "reserved"),
    "bad federation": (AGENT.replace('"farm"', '"Farm"'), "[node] federation", "a-z"),
    "bad parent": (AGENT.replace('"north"', '"No"'), "[parent] id", "a-z"),
    "its own parent": (AGENT.replace('"north"', '"cow-1"'), "[parent] id", "own id"),
    "unknown role": (AGENT.replace('"agent"', '"agnet"'), "Did you mean 'agent'?"),
    "agent on a tier": (AGENT.replace("tier = 0", "tier = 1"), "tier = 1", "a device is on tier 0"),
    "gateway on tier 0": (GATEWAY.replace("tier = 1", "tier = 0"), "a gateway is on tier 1"),
    "tier nine": (GATEWAY.replace("tier = 1", "tier = 9"), "tier = 9 is out of range: 0 to 8"),
    "agent without data": (AGENT.split("[data]")[0], "[data] is missing", '"agent"'),
    "an agent that counts examples before it has a model": (
        AGENT.replace('artefact = "package:imu"', 'weight = "examples"'),
        '[node] weight = "examples"',
        "Give artefact",
    ),
    "gateway with data": (GATEWAY + '[data]\nsource = "imu"', "[data] means nothing"),
    "gateway without members": (GATEWAY.split("[cell]")[0], "[cell] is missing"),
    "an empty member list": (
        GATEWAY.replace('["cow-1", "cow-2"]', "[]"),
        "[cell] members has 0 entries",
    ),
    "cloud with a parent": (
        CLOUD + '[parent]\nid = "x"\nurl = "mqtt://x:1"',
        "[parent] means nothing",
    ),
    "cloud with a quorum": (
        CLOUD.replace("members =", "members_min = 1\nmembers ="),
        "[cell] members_min means nothing",
    ),
    "cloud without federation": (
        CLOUD.replace('federation_file = "federation.toml"', ""),
        "federation_file is missing",
    ),
    "member twice": (GATEWAY.replace('"cow-2"', '"cow-1"'), "names 'cow-1'", "named twice"),
    "member is itself": (GATEWAY.replace('"cow-2"', '"north"'), "names 'north'"),
    "member is the parent": (GATEWAY.replace('"cow-2"', '"cloud"'), "names 'cloud'"),
    "bad member": (GATEWAY.replace('"cow-2"', '"cow 2"'), "[cell] members", "'cow 2'"),
    "no scheme": (AGENT.replace("mqtt://north.local:1883", "north:1883"), "mqtt://HOST:PORT"),
    "no host": (AGENT.replace("mqtt://north.local:1883", "mqtt://"), "host or port is missing"),
    "bad port": (AGENT.replace(":1883", ":99999"), "[parent] url", "mqtt://HOST:PORT"),
    "a path": (AGENT.replace(":1883", ":1883/mqtt"), "nothing may follow the port"),
    "name without password": (
        AGENT.replace(':1883"', ':1883"\nusername = "x"'),
        "username needs password_file",
    ),
    "certificate without key": (
        GATEWAY.replace('keyfile = "/etc/keys/north.key"', ""),
        "certfile needs keyfile",
    ),
    "key without certificate": (
        GATEWAY.replace('certfile = "north.crt"', ""),
        "keyfile needs certfile",
    ),
    "certificates without TLS": (GATEWAY.replace("mqtts", "mqtt"), "cafile is for TLS", "mqtts://"),
    "more members wanted than there are": (
        GATEWAY.replace("members =", "members_min = 3\nmembers ="),
        "[cell] members_min = 3 is more than the 2 members",
        "1 to 2",
    ),
    "url is a number": (AGENT.replace('"mqtt://north.local:1883"', "1883"), "Write text"),
    "starting a foreign broker": (
        GATEWAY.replace("members =", "start = true\nmembers ="),
        "start = true",
        "runs already",
    ),
    "gateway with a weight": (
        GATEWAY.replace("tier = 1", "tier = 1\nweight = 1"),
        "[node] weight means nothing",
        "Remove it",
    ),
    "gateway with threads": (GATEWAY + "[board]\nthreads = 1", "[board] threads means nothing"),
    "gateway with a batch": (GATEWAY + "[board]\nbatch_max = 8", "[board] batch_max means nothing"),
    "cloud with a weight": (
        CLOUD.replace("tier = 2", 'tier = 2\nweight = "examples"'),
        "[node] weight means nothing",
    ),
    "cloud with a budget": (
        CLOUD + "[board]\nmemory_budget_mib = 64",
        "[board] memory_budget_mib means nothing",
    ),
    "weight zero": (
        AGENT.replace("tier = 0", "tier = 0\nweight = 0"),
        "weight = 0 is out of range: 1 to 16777216",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused_with_place_value_and_remedy(case):
    text, *wanted = WRONG[case]
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.exit_code == 78
    message = str(caught.value)
    assert message.startswith("n.toml")
    for piece in wanted:
        assert piece in message
