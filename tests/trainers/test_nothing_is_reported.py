"""What trains and predicts here is told to nobody: onnxruntime's own reports are off."""

from __future__ import annotations

import os
import subprocess
import sys

OPENED = """
import os
from fedtier.artefact.find import find_artefact
find_artefact("package:imu").train_session()
print(len(os.listdir("/proc/self/task")))
"""


def test_opening_a_graph_starts_no_thread_and_leaves_no_session_behind(tmp_path):
    """Onnxruntime 1.32 on Linux, asked nothing, starts one that reports, and names its session."""
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment |= {"TMPDIR": str(tmp_path), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", OPENED], env=environment,
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert int(done.stdout) == 1
    assert list(tmp_path.iterdir()) == []
