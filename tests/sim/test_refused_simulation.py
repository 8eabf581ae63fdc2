"""A simulation that is refused says why and no more, and leaves its directory for the next try."""

from __future__ import annotations

import subprocess
import sys

import pytest

AUTO = "[plan.auto]\ndeadline_s = 60\n"


def sim(*arguments):
    command = [sys.executable, "-m", "fedtier", "sim", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ([('path = "data"', 'path = "nowhere"')], [], "nowhere"),
        ([], ["--pilot", 4], "a pilot of 4 rounds does not fit into the 2 of the run"),
        (
            [
                ("rounds = 2\n", ""),
                ("tau = [2, 2]", 'tau = "auto"'),
                ("[plan.schedule]", AUTO + "[plan.schedule]"),
            ],
            ["--pilot", 4],
            "--pilot 4 is for a tau that is given",
        ),
        (
            [('codec = "qsgd"', 'codec = "qsgd"\nbudget_bytes_per_round = 400')],
            [],
            "budget_bytes_per_round = 400",
        ),
    ],
    ids=["missing data", "a pilot too long", "a pilot beside auto", "a budget too small"],
)
def test_what_is_refused_leaves_nothing_and_can_be_tried_again(
    changes, options, said, write_federation, tmp_path
):
    right = write_federation("right.toml")
    text = right.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = right.with_name("refused.toml")
    file.write_text(text, encoding="utf-8")
    out = tmp_path / "out"
    refused = sim(file, "--out", out, *options)
    assert refused.returncode == 78
    assert said in refused.stderr
    assert refused.stdout == ""
    assert not out.exists()
    done = sim(right, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "6 of 6 nodes are up; the first round is under way" in done.stdout
    assert (out / "report.json").exists()
