"""A state directory has one process: a second is told whose it is, a dead one is forgotten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from fedtier.errors import EXIT_CONFIG, EXIT_STORAGE, ConfigError, StorageError
from fedtier.storage.lock import LOCK_NAME, held

HOLDER = """
import sys
from pathlib import Path
from fedtier.storage.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(directory):
    """Another process that holds a directory until it is killed."""
    command = [sys.executable, "-c", HOLDER, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


def test_a_directory_is_made_and_held_by_the_process_it_names(tmp_path):
    directory = tmp_path / "not" / "there yet"
    with held(directory):
        assert (directory / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_a_second_process_is_refused_with_the_pid_of_the_first_and_the_directory(tmp_path):
    with holder(tmp_path) as first:
        with pytest.raises(ConfigError) as caught, held(tmp_path):
            pass
        assert caught.value.exit_code == EXIT_CONFIG
        assert f"{tmp_path} is in use by process {first.pid}" in str(caught.value)
        assert "state_dir" in str(caught.value)
        assert (tmp_path / LOCK_NAME).read_text() == f"{first.pid}\n"  # left as it was


def test_two_parts_of_one_process_do_not_share_it_either(tmp_path):
    with (
        held(tmp_path),
        pytest.raises(ConfigError, match=f"process {os.getpid()}"),
        held(tmp_path),
    ):
        pass


def test_the_next_process_holds_it_after_the_first_has_ended(tmp_path):
    for _ in range(2):
        with held(tmp_path):
            pass


def test_a_shorter_pid_leaves_nothing_of_a_longer_one(tmp_path):
    (tmp_path / LOCK_NAME).write_text("123456789123456789\n")
    with held(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_a_process_that_is_killed_holds_nothing_and_leaves_nothing_to_clear_away(tmp_path):
    with holder(tmp_path) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
        with held(tmp_path):
            pass


def test_what_a_process_starts_does_not_hold_it(tmp_path):
    # Nor would a broker that a node starts, and that may outlive it by a moment.
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as before:
        with held(tmp_path):
            child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
        with child, held(tmp_path):
            assert (before.poll(), child.poll()) == (None, None)
            child.kill()
            before.kill()


def test_a_holder_that_has_not_yet_written_its_pid_is_named_without_one(tmp_path):
    with holder(tmp_path):
        (tmp_path / LOCK_NAME).write_bytes(b"")
        with pytest.raises(ConfigError, match="another process, which has just started"):
            held(tmp_path).__enter__()


@pytest.mark.parametrize("directory", ["/proc/fedtier", "/dev/null/state"])
def test_a_directory_that_cannot_be_made_is_a_fault_of_the_disk(tmp_path, directory):
    with pytest.raises(StorageError, match=directory) as caught:
        held(tmp_path / directory).__enter__()
    assert caught.value.exit_code == EXIT_STORAGE


def test_a_lock_that_cannot_be_written_is_a_fault_of_the_disk(tmp_path):
    (tmp_path / LOCK_NAME).symlink_to("/dev/full")
    with pytest.raises(StorageError, match="lock cannot be written"):
        held(tmp_path).__enter__()
