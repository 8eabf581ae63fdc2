"""Gives memory back to the board that a process holds and does not need any more.

Neither changes what is computed: what is given back is free memory of the heap, and code that is
found again where it is when it is run.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

_MADV_DONTNEED = 4  # of every Linux
_M_ARENA_MAX = -8  # of glibc's mallopt


def keep_one_heap() -> None:
    """Let all threads of this process share one heap; call it before there are any.

    glibc gives every thread that meets another in ``malloc`` a heap of its own, whose free memory
    no other uses.
    """
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back_heap() -> None:
    """Return the free pages of the heap to the kernel, those between used ones too."""
    ctypes.CDLL(None).malloc_trim(0)


def give_back_code(library: str, *, smaps: Path = Path("/proc/self/smaps")) -> int:
    """Unmap the code and constants of a loaded library, until they are used again.

    They are pages of a file. The kernel maps one when it is first used, its neighbours with it, and
    leaves it mapped. Unmapped it is what any page of a file is that was read: others may have its
    memory, and until they take it, it is found where it was, without the disk.

    Args:
        library: Part of its file's name.
        smaps: Where the kernel lists this process's mappings.

    Returns:
        How many mappings were given back; one that the kernel refuses is no error.
    """
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return sum(
        advise(start, length, _MADV_DONTNEED) == 0 for start, length in _as_in_file(library, smaps)
    )


def _as_in_file(library: str, smaps: Path) -> Iterator[tuple[int, int]]:
    """Address and length of the library's mappings in which no page differs from the file's."""
    found: tuple[int, int] | None = None
    for line in smaps.read_text(encoding="utf-8").splitlines():
        first, *rest = line.split(maxsplit=5)
        if not first.endswith(":"):  # a mapping's first line: bounds, access, ..., path
            start, end = (int(bound, 16) for bound in first.split("-"))
            its = len(rest) == 5 and library in Path(rest[-1]).name and "w" not in rest[0]
            found = (start, end - start) if its else None
        elif first == "Anonymous:" and rest[0] == "0" and found is not None:
            yield found
