"""A simulation that is told to stop ends in order: by SIGTERM as by Ctrl-C."""

from __future__ import annotations

import signal

import pytest
from testbed import Program, wait_until


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_simulation_ends_in_order_when_it_is_told_to(number, code, write_federation, tmp_path):
    out = tmp_path / "out"
    file = write_federation(rounds=500)
    program = Program.fedtier("sim", file, "--out", out, log_path=tmp_path / "log")
    try:
        metrics = out / "metrics.jsonl"
        wait_until(lambda: metrics.exists() or not program.running, "a round has closed")
        program.signal(number)
        assert program.exit_code() == code, program.log
    finally:
        program.kill()
