"""A boot gives a role what it puts its machine into, and takes it all back at the end."""

from __future__ import annotations

import os

import pytest
from runtime_world import Scripted

from fedtier.errors import ConfigError
from fedtier.runtime.boot import booted
from fedtier.storage.lock import LOCK_NAME, held

GATEWAY = """
[node]
id = "north"
role = "gateway"
federation = "farm"
tier = 1
state_dir = "state"

[parent]
id = "cloud"
url = "mqtt://cloud.example:1883"

[cell]
url = "mqtt://127.0.0.1:1884"
members = ["cow-1", "cow-2"]
"""

PARENT = GATEWAY[GATEWAY.index("[parent]") : GATEWAY.index("[cell]")]
CLOUD = (
    GATEWAY.replace(PARENT, "")
    .replace('"gateway"', '"cloud"')
    .replace(
        'state_dir = "state"',
        'state_dir = "state"\nrun_dir = "run"\nfederation_file = "f"\nartefact = "package:imu"',
    )
)


def boot_of(tmp_path, text=GATEWAY, *, role="gateway"):
    file = tmp_path / "node.toml"
    file.write_text(text)
    return booted(file, role=role)


def test_the_state_directory_is_this_process_s_alone_until_the_boot_is_over(tmp_path):
    with boot_of(tmp_path) as boot:
        assert boot.state_dir == tmp_path / "state"
        assert (boot.state_dir / LOCK_NAME).read_text() == f"{os.getpid()}\n"
        with pytest.raises(ConfigError, match="is in use"), boot_of(tmp_path):
            pass
    with held(tmp_path / "state"):
        pass


def test_a_file_of_another_role_takes_no_directory(tmp_path):
    with pytest.raises(ConfigError, match="fedtier gateway run"), boot_of(tmp_path, role="agent"):
        pass
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("text", "role", "sides"), [(GATEWAY, "gateway", ["up", "down"]), (CLOUD, "cloud", ["down"])]
)
def test_a_node_is_connected_on_the_sides_that_its_file_describes(tmp_path, text, role, sides):
    with boot_of(tmp_path, text, role=role) as boot:
        driver = boot.host(Scripted())
        for side in ("up", "down"):
            if side in sides:
                driver.transport(side).close()
            else:
                with pytest.raises(KeyError):
                    driver.transport(side)


def test_every_boot_has_another_nonce_and_says_who_it_is(tmp_path, capsys):
    nonces = set()
    for _ in range(2):
        with boot_of(tmp_path) as boot:
            nonces.add(boot.nonce)
    assert len(nonces) == 2
    started = [line for line in capsys.readouterr().err.splitlines() if " started " in line]
    assert len(started) == 2
    assert all("node=north role=gateway federation=farm" in line for line in started)
    assert all(f"pid={os.getpid()}" in line for line in started)
