"""The systemd units: what they promise, and that systemd understands them."""

from __future__ import annotations

import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path, PurePosixPath

import pytest

from fedtier.errors import EXIT_CONFIG, EXIT_TERMINATED, EXIT_UNTRAINED, EXIT_USAGE
from fedtier.render.unit_files import render_unit, unit_name

ROOT = Path(__file__).parents[2]
ROLES = ("agent", "gateway", "cloud")
PROGRAM = "/opt/fedtier/venv/bin/fedtier"
KNOWN = {
    "Unit": {"Description", "Wants", "After", "StartLimitIntervalSec"},
    "Install": {"WantedBy"},
    "Service": {
        "Type", "User", "Group", "EnvironmentFile", "ExecStart", "StateDirectory",
        "StateDirectoryMode", "WorkingDirectory", "Environment", "ReadWritePaths", "Restart",
        "RestartSec", "RestartSteps", "RestartMaxDelaySec", "RestartPreventExitStatus",
        "SuccessExitStatus",
        "MemoryMax", "OOMPolicy", "NoNewPrivileges", "CapabilityBoundingSet", "AmbientCapabilities",
        "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "ProtectClock",
        "ProtectControlGroups", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules",
        "ProtectKernelTunables", "ProtectProc", "RestrictAddressFamilies", "RestrictNamespaces",
        "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality", "RemoveIPC", "KeyringMode",
        "SystemCallArchitectures", "SystemCallFilter", "SystemCallErrorNumber", "UMask",
    },
}  # fmt: skip
# Since systemd 254; an older one says that it ignores them.
YOUNG = re.compile(r"Unknown key '(?:RestartSteps|RestartMaxDelaySec)' in section \[Service\]")


def parsed(text: str) -> ConfigParser:
    # A key that is given twice is an error here.
    unit = ConfigParser(delimiters=("=",), comment_prefixes=("#",), interpolation=None)
    unit.optionxform = str
    unit.read_string(text)
    return unit


@pytest.mark.parametrize("role", ROLES)
def test_every_section_and_key_is_one_that_systemd_has(role):
    unit = parsed(render_unit(role))
    assert set(unit.sections()) == set(KNOWN) - ({"Install"} if role == "cloud" else set())
    for section in unit.sections():
        assert set(unit[section]) <= KNOWN[section]


@pytest.mark.parametrize("role", ROLES)
def test_a_unit_runs_the_nodes_program_without_privilege(role):
    service = parsed(render_unit(role))["Service"]
    command = f"{PROGRAM} {role} run --config /etc/fedtier/{role}.toml"
    assert service["ExecStart"].removesuffix(" $OPTIONS") == command
    assert (service["User"], service["StateDirectory"]) == ("fedtier", "fedtier")
    assert service["CapabilityBoundingSet"] == ""
    assert service["NoNewPrivileges"] == service["PrivateTmp"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert "MemoryDenyWriteExecute" not in service


@pytest.mark.parametrize("role", ROLES)
def test_what_another_start_would_not_mend_is_not_tried_again(role):
    service = parsed(render_unit(role))["Service"]
    final = {EXIT_USAGE, EXIT_CONFIG} | ({EXIT_UNTRAINED} if role == "cloud" else set())
    assert service["Restart"] == "on-failure"
    assert set(map(int, service["RestartPreventExitStatus"].split())) == final


def test_the_cloud_is_one_run_that_no_boot_begins_and_an_operator_may_stop():
    unit = parsed(render_unit("cloud"))
    assert "Install" not in unit
    assert unit["Service"]["SuccessExitStatus"] == str(EXIT_TERMINATED)
    assert unit["Service"]["ExecStart"].endswith(" $OPTIONS")


@pytest.mark.parametrize("role", ROLES)
def test_a_node_waits_for_network_and_time_and_a_parent_for_its_broker(role):
    after = parsed(render_unit(role))["Unit"]["After"].split()
    assert {"network-online.target", "time-sync.target"} <= set(after)
    assert ("mosquitto.service" in after) == (role != "agent")


def test_a_boards_budget_becomes_a_limit_with_room_for_training():
    assert parsed(render_unit("agent"))["Service"]["MemoryMax"] == "60%"
    unit = render_unit("agent", memory_budget_mib=160)
    assert parsed(unit)["Service"]["MemoryMax"] == "320M"
    unit = render_unit("agent", memory_budget_mib=160, serves=True)
    assert parsed(unit)["Service"]["MemoryMax"] == "384M"


def test_a_state_directory_elsewhere_is_made_writable():
    unit = render_unit("agent", state_dir=PurePosixPath("/srv/state"))
    assert parsed(unit)["Service"]["ReadWritePaths"] == "/srv/state"
    inside = render_unit("agent", state_dir=PurePosixPath("/var/lib/fedtier/a"))
    assert "ReadWritePaths" not in inside


@pytest.mark.parametrize("role", ROLES)
def test_systemd_itself_has_nothing_to_say_against_a_unit(role, tmp_path):
    if shutil.which("systemd-analyze") is None:
        return  # the tests above hold it to the keys they know
    path = tmp_path / unit_name(role)
    path.write_text(render_unit(role).replace(PROGRAM, "/bin/true"), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    about_it = [line for line in done.stderr.splitlines() if unit_name(role) in line]
    assert [line for line in about_it if not YOUNG.search(line)] == []


@pytest.mark.parametrize("document", ["README.md", "firmware_configs/README.md"])
def test_the_documents_install_the_program_where_the_units_start_it(document):
    assert "/opt/fedtier/venv" in (ROOT / document).read_text(encoding="utf-8")
