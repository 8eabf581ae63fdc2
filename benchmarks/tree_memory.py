"""What a process and all that it has started hold of the machine's memory.

Two figures: ``pss``, in which a page counts in part where other processes of this machine map it
too, and ``alone``, the distinct page frames of the tree, which is what it would be with nothing
else on the board (root only; 0 otherwise).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

_PAGE = 4096
_SAMPLE_S = 0.01
_PRESENT, _FRAME = np.uint64(1 << 63), np.uint64((1 << 55) - 1)

Frames = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Memory of a tree of processes, in MiB."""

    pss: float
    alone: float

    def __or__(self, other: Held) -> Held:
        """The larger of each."""
        return Held(pss=max(self.pss, other.pss), alone=max(self.alone, other.alone))


NOTHING = Held(pss=0.0, alone=0.0)


class Watch:
    """Looks at a tree from its start to its end, in a thread; use it as a context."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = NOTHING
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def peak(self) -> Held:
        """The largest so far."""
        return self._peak

    def _look(self) -> None:
        while not self._ended.is_set():
            self._peak |= held_by(self._pid)
            time.sleep(_SAMPLE_S)


def held_by(pid: int) -> Held:
    """Memory of a process and all below it, now."""
    pss_kib, frames = 0, [np.empty(0, np.uint64)]
    for each in (pid, *_below(pid)):
        with suppress(OSError, ValueError):  # it has ended
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    pss_kib += int(line.split()[1])
            frames += _frames(each)
    distinct = len(np.unique(np.concatenate(frames)))
    return Held(pss=pss_kib / 1024, alone=distinct * _PAGE / 2**20)


def _below(pid: int) -> Iterator[int]:
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, listing.read_text().split()):
                yield child
                yield from _below(child)


def _frames(pid: int) -> list[Frames]:
    found = []
    with Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pagemap:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end = (int(bound, 16) for bound in line.split()[0].split("-"))
            if start >= 1 << 63:
                continue  # vsyscall
            pagemap.seek(start // _PAGE * 8)
            entries = np.frombuffer(pagemap.read((end - start) // _PAGE * 8), np.uint64)
            frames = entries[(entries & _PRESENT) != 0] & _FRAME
            found.append(frames[frames != 0])  # 0: not for this user's eyes
    return found
