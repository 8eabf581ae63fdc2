"""A sweep's table and page: what runs came to, whatever their variants are called."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from fedtier.show.summary import print_table
from fedtier.sweep.page import sweep_page
from fedtier.sweep.queue import Run
from fedtier.sweep.results import Outcome, rows_of
from fedtier.sweep.table import sweep_table
from fedtier.sweep.variant import parse_variant

LONG = "tau=8,2,2 mu=0.1 simulation.link.rate_bytes_per_s=1e4,1e5,1e6"
REPORT = {
    "accuracy": 0.875, "loss": 0.3, "accuracy_held_out_worst": {"accuracy": 0.5},
    "accuracy_devices": {"mean": 0.9, "p10": 0.8, "worst": {"node": "cow", "accuracy": 0.75}},
    "seconds": 1234.5, "rounds_trained": 3, "model_digest": "ab" * 32, "tau": [4, 4, 1],
    "plans": [], "links": [{"bytes_up": 12_430_000, "bytes_down": 87_800_000}],
}  # fmt: skip


def rows(*found):
    """Of variants and the reports of their seeds."""
    return rows_of(
        [
            Outcome(
                run=Run(
                    variant=parse_variant(text), seed=seed, text="", rounds=3, home=Path("unused")
                ),
                report=REPORT | report,
            )
            for text, *reports in found
            for seed, report in enumerate(reports, start=1)
        ]
    )


def table(*found, width=80):
    console = Console(file=io.StringIO(), width=width)
    print_table(console, sweep_table(rows(*found), console))
    return console.file.getvalue().splitlines()


def test_a_long_variant_goes_on_in_the_next_line_and_no_figure_is_cut_off():
    lines = table((LONG, {}, {"accuracy": 0.8}), ("mu=1", {}, {}))
    assert max(map(len, lines)) <= 80
    ends = [line.split()[-3:] for line in lines if line.endswith("87.80")]
    assert ends == [["1234.5", "12.43", "87.80"]] * 2
    own = [line[:15].strip() for line in lines[3:]]
    assert own[0] == "mu=1"
    assert "".join(own[1:]) == LONG.replace(" ", "")
    assert any(LONG in line for line in table((LONG, {}), width=200))


def test_the_tau_that_runs_chose_is_shown_with_their_variant():
    auto = ("tau=auto", *({"tau": [t, 1, 1], "plans": [{}]} for t in (54, 46, 54)))
    lines = table(("mu=1", {}), auto)
    assert [line.split()[0] for line in lines[3:]] == ["mu=1", "tau=auto", "chose", "chose"]
    assert lines[5:] == ["chose 54,1,1", "chose 46,1,1"]
    page = sweep_page(rows(("mu=1", {}), auto), federation="farm", clock="virtual")
    chosen = "<small>chose 54,1,1</small><br><small>chose 46,1,1</small>"
    assert f"<td>tau=auto<br>{chosen}</td>" in page
    assert page.count("chose") == 2
