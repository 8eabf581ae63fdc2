"""How a node ends is told by its exit code, and by one line that says what to do."""

from __future__ import annotations

import pytest

from fedtier import cli


@pytest.fixture
def run_node(monkeypatch, capsys, tmp_path):
    """Run a command of the command line, as `fedtier node FAULT` would be."""
    mount = cli.Mount("node_commands:app", "A node that fails.")
    monkeypatch.setitem(cli.MOUNTS, "node", mount)

    def run(fault):
        with pytest.raises(SystemExit) as caught:
            cli.main(["node", fault, str(tmp_path)])
        return caught.value.code, capsys.readouterr().err

    return run


def test_a_node_that_is_done_exits_with_0(run_node):
    assert run_node("none") == (0, "")


@pytest.mark.covers("S-3")
def test_a_gateway_whose_disk_is_full_exits_with_74_and_says_what_to_do(run_node, tmp_path):
    place = tmp_path / "spool" / f"{1:016x}" / "r0" / "d1"
    place.parent.mkdir(parents=True)
    place.symlink_to("/dev/full")
    code, text = run_node("disk")
    assert code == 74
    assert text.startswith(f"error: {place} cannot be written: No space left on device. Free space")
    assert "Traceback" not in text


def test_a_disk_that_fails_under_the_work_exits_with_74(run_node):
    code, text = run_node("work: disk")
    assert code == 74
    assert text.startswith("error: /spool cannot be written")


def test_a_bug_in_the_work_exits_with_70_and_is_shown_whole(run_node):
    code, text = run_node("work: bug")
    assert code == 70
    assert "Traceback" in text
    assert "ZeroDivisionError: a bug" in text


def test_a_broker_that_is_not_there_exits_with_69(run_node):
    code, _ = run_node("unreachable")
    assert code == 69
