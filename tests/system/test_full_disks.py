"""A disk that is full ends the node with a message to act on; with space again, the run goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from errno import ENOSPC
from pathlib import Path
from typing import Protocol

import pytest
from testbed import wait_until

LONG = {"rounds": 8, "tau": (8, 2)}
DISK_BYTES = 2 * 2**20
RECORDS = {"w-0": "outbox", "west": "iteration", "cloud": "snapshot"}  # each node's durable point


class Disk(Protocol):
    """Where a node keeps its state."""

    def fill(self) -> None:
        """Take what space there is; again and again, as a node frees some by what it replaces."""

    def free(self) -> None:
        """Give it back."""


class SmallDisk:
    """A file system of its own, of two megabytes."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._filler = place / "filler"

    def fill(self) -> None:
        space = os.statvfs(self._place)
        with suppress(OSError), self._filler.open("ab", buffering=0) as file:
            file.write(bytes(space.f_bavail * space.f_frsize))

    def free(self) -> None:
        self._filler.unlink()


class RefusedFile:
    """A durable record whose next version the kernel refuses for want of space."""

    def __init__(self, place: Path, node: str) -> None:
        self._next = place / f"{RECORDS[node]}.record.new"

    def fill(self) -> None:
        with suppress(FileExistsError):
            self._next.symlink_to("/dev/full")

    def free(self) -> None:
        self._next.unlink(missing_ok=True)


@pytest.fixture
def disk_at(request: pytest.FixtureRequest) -> Iterator[Callable[[str, Path, str], Disk]]:
    """Put a disk where a node keeps its state."""
    with ExitStack() as stack:

        def make(kind: str, place: Path, node: str) -> Disk:
            place.mkdir(parents=True)
            if kind == "/dev/full":
                return RefusedFile(place, node)
            mount = ("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place))
            done = subprocess.run(mount, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"no disk of its own may be mounted here ({done.stderr.strip()}); the "
                            "same is shown with /dev/full")  # fmt: skip
            stack.callback(subprocess.run, ["umount", "--lazy", str(place)], check=True)
            return SmallDisk(place)

        yield make


@pytest.mark.parametrize("kind", ["a small disk", "/dev/full"])
@pytest.mark.parametrize("node", ["west", "w-0", "cloud"])
def test_a_node_whose_disk_is_full_says_what_to_do_and_goes_on_when_it_is_done(
    testbed, digest_alone, disk_at, node, kind
):
    bed = testbed(**LONG)
    state, out = bed.directory / "state" / node, bed.directory / "out"
    disk = disk_at(kind, state, node)
    bed.start_fleet()
    bed.start_cloud("--out", out)
    bed.wait_until(lambda: len(bed.rows(out)) >= 2, "two rounds have closed")
    program = bed.nodes.pop(node)
    wait_until(lambda: disk.fill() or not program.running, "the node ends")
    assert program.exit_code() == 74, program.log
    assert len(bed.rows(out)) < LONG["rounds"], "it was filled too late"
    (said,) = [line for line in program.log.splitlines() if line.startswith("error: ")]
    assert str(state) in said
    assert (
        f"cannot be written: {os.strerror(ENOSPC)}. Free space or mend the disk, then start" in said
    )
    assert "Traceback" not in program.log
    disk.free()
    if node == "cloud":
        bed.start_cloud("--out", out)
    else:
        bed.start(node)
    assert bed.finished(out)["model_digest"] == digest_alone(**LONG)
    assert [row["round"] for row in bed.rows(out)] == list(range(LONG["rounds"]))


def test_a_node_that_is_started_on_a_full_disk_ends_again(testbed, digest_alone, disk_at):
    bed = testbed(**LONG)
    out = bed.directory / "out"
    disk = disk_at("a small disk", bed.directory / "state" / "west", "west")
    disk.fill()
    bed.start_fleet()
    bed.start_cloud("--out", out)
    for _ in range(2):
        program = bed.nodes.pop("west")
        assert program.exit_code(deadline_s=60) == 74, program.log
        assert "Traceback" not in program.log
        bed.start("west")
    bed.nodes["west"].kill()
    disk.free()
    bed.start("west")
    assert bed.finished(out)["model_digest"] == digest_alone(**LONG)
