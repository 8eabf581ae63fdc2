"""What a process gives back of its memory is gone from it, and changes nothing it computes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
from test_trainers import examples, never, task

from edge_agent.give_back import give_back_code
from edge_agent.trainer_onnx import OnnxTrainer
from fedtier.artefact.find import find_artefact

KIB_PER_MIB = 1024


def mapped_kib(library: str) -> int:
    """Memory of the library's mappings that holds what its file holds."""
    total, its = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if not line.split()[0].endswith(":"):
            its = library in line and "w" not in line.split()[1]
        elif its and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


def test_code_that_was_given_back_runs_again_to_the_same_bit():
    artefact = find_artefact("package:imu")

    def trained():
        outcome = OnnxTrainer(artefact).train(task(artefact), examples(), cancelled=never)
        return hashlib.sha256(outcome.model.tobytes()).hexdigest()

    before, held_kib = trained(), mapped_kib("onnxruntime")
    assert give_back_code("onnxruntime") >= 1
    # What the linker wrote to stays: some hundred KiB. All else, 10 MiB and more, is gone.
    assert mapped_kib("onnxruntime") < KIB_PER_MIB < held_kib
    assert trained() == before


def test_what_is_written_to_or_of_another_library_is_left_alone(tmp_path):
    rows = (
        ("r-xp", "/lib/other.so", 0),
        ("rw-p", "/lib/onnxruntime.so", 0),
        ("r--p", "/lib/onnxruntime.so", 8),  # relocated: the file does not have these pages
    )
    # A valid address: were it given back, the array would be found empty.
    kept = np.arange(4096, dtype=np.int64)
    page = kept.ctypes.data // 4096 * 4096 + 4096
    smaps = tmp_path / "smaps"
    smaps.write_text(
        "".join(
            f"{page:x}-{page + 4096:x} {access} 0 fe:00 1 {path}\nRss: 8 kB\nAnonymous: {own} kB\n"
            for access, path, own in rows
        ),
        encoding="utf-8",
    )
    assert give_back_code("onnxruntime", smaps=smaps) == 0
    assert (kept == np.arange(4096)).all()


def test_free_memory_between_used_memory_goes_back_to_the_kernel():
    program = (
        "from pathlib import Path\n"
        "from edge_agent.give_back import give_back_heap\n"
        "def resident_kib():\n"
        "    return int(Path('/proc/self/statm').read_text().split()[1]) * 4\n"
        # 64 KiB each: below what glibc maps by itself, so on the heap, every other one then freed.
        "blocks = [b'x' * 65536 for _ in range(1024)]\n"
        "del blocks[:-1:2]\n"
        "before = resident_kib()\n"
        "give_back_heap()\n"
        "print(before - resident_kib())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout) > 24 * KIB_PER_MIB  # of 32, since a page is shared by neighbours
