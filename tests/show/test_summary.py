"""The tables at the end of a demo."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from fedtier.show.summary import print_summary

LINK = {
    "link": 1, "quantizer": "identity", "updates": 2, "deltas": 2,
    "abstained": 0, "bytes_up": 8, "bytes_down": 8, "q_mean": 0.0,
}  # fmt: skip


def shown(
    names: list[str],
    *,
    untrained: dict[str, str] | None = None,
    terminal: bool = False,
    **changes: object,
) -> str:
    """The tables of a cloud and these devices on a terminal of 80 characters."""
    node = {"peak_rss_bytes": 100 * 2**20, "cpu_seconds": 12.5}
    report = {
        "rounds": 4,
        "rounds_trained": 4,
        "reasons": [],
        "links": [LINK],
        "nodes": [
            {"id": "cloud", "tier": 1, **node, "cpu_seconds": None},
            *({"id": name, "tier": 0, **node} for name in names),
        ],
        "accuracy": 0.5,
        "loss": 1.25,
        "accuracy_held_out_worst": {"group": "barn", "accuracy": 0.25},
        "accuracy_devices": {"mean": None, "p10": None, "worst": None},
        "loss_devices": None,
        "rollout": [],
        "plans": [],
        "pilot": 0,
        "clock": "wall",
        **changes,
    }
    console = Console(file=io.StringIO(), width=80, force_terminal=terminal)
    print_summary(console, report, dimension=1, untrained=untrained or {})
    return console.file.getvalue()


@pytest.mark.parametrize(("length", "across"), [(10, 3), (20, 2), (40, 1)])
def test_every_process_has_its_figures_in_the_table(length, across):
    names = [f"{number:02}{'x' * (length - 2)}" for number in range(7)]
    rows = [line.split() for line in shown(names).splitlines() if names[0][2:] in line]
    assert len(rows) == -(-7 // across)
    assert rows[0][0] == "0"  # the tier, once
    cells = [*rows[0][1:], *(cell for row in rows[1:] for cell in row)]
    assert cells == [cell for name in names for cell in (name, "100", "12.5")]


def test_held_out_data_are_called_that_whatever_they_are_of():
    page = shown(["cow"])
    assert "held-out data" in page
    assert "its worst group (barn)" in page
    assert "people" not in page


def test_the_plans_of_a_run_that_planned_itself_are_told_with_their_reasons():
    assert "Plans" not in shown(["cow"])
    plan = {
        "after_round": 3, "seconds": 12.34, "tau": [8, 2, 1], "mu": 0.05, "round_s": 1.5,
        "rounds": 40, "reason": "after a pilot of 3 rounds",
    }  # fmt: skip
    page = shown(["cow"], plans=[plan])
    (row,) = [line.split() for line in page.splitlines() if "8,2,1" in line]
    assert row == ["3", "12.3", "8,2,1", "0.05", "1.50", "40"]
    assert "after round 3: after a pilot of 3 rounds" in page


def test_what_a_pilot_adds_to_the_bytes_is_told_below_them():
    assert "pilot" not in shown(["cow"])
    lines = shown(["cow"], pilot=4).splitlines()
    said = next(n for n, line in enumerate(lines) if "the pilot's float32 rounds" in line)
    assert lines[said - 1].split()[:2] == ["1", "identity"]


def test_abstentions_have_a_table_where_there_were_any():
    assert "abstained" not in shown(["cow"])
    links = [LINK, LINK | {"link": 2, "updates": 10**6, "abstained": 999_998}]
    page = shown(["cow"], links=links)
    (row,) = [line.split() for line in page.splitlines() if "999998" in line]
    assert row == ["2", "999998", "2"]
    assert max(map(len, page.splitlines())) <= 80


@pytest.mark.parametrize(
    ("trained", "said"), [(0, "Nobody trained in any of the 4 rounds"), (3, "In 1 of 4 rounds")]
)
def test_rounds_without_training_are_told_with_the_reasons(trained, said):
    reasons = [{"node": "barn", "reason": "cow: [memory] is full"}]
    page = shown(["cow"], rounds_trained=trained, reasons=reasons)
    assert said in page
    assert "  barn: cow: [memory] is full" in page


def test_devices_that_never_trained_are_named_with_the_reason():
    untrained = {f"cow-{n}": "[data]: the training part gives no example" for n in range(8)}
    page = shown(["cow"], untrained=untrained)
    for device, reason in untrained.items():
        assert f"\n{device} never trained: {reason}\n" in page
    assert "more" not in page
    page = shown(["cow"], untrained={**untrained, "fan": "why", "sow": "why"})
    assert "... and 2 more never did\n" in page
    assert "fan" not in page


@pytest.mark.parametrize("terminal", [False, True])
def test_no_line_ends_in_blanks_that_would_be_copied_with_it(terminal):
    report = shown(["cow"], terminal=terminal, links=[LINK | {"abstained": 1}])
    plain = Text.from_ansi(report).plain
    assert [line for line in plain.splitlines() if line != line.rstrip()] == []
    assert ("\x1b[" in report) == terminal


def test_a_run_in_which_all_trained_has_nothing_to_explain():
    page = shown(["cow"])
    assert "nobody trained" not in page.lower()
    assert "abstain" not in page


def test_a_model_that_is_never_right_or_wrong_is_shown_by_its_loss():
    text = shown(["d"], accuracy=None, accuracy_held_out_worst=None, loss=0.125, loss_devices=0.5)
    assert "Accuracy" not in text
    rows = [line.split() for line in text.splitlines()]
    assert ["held-out", "data", "0.125"] in rows
    assert ["the", "devices'", "own", "hold-outs", "0.5"] in rows


def test_models_that_devices_serve_have_a_table_newest_first():
    assert "Roll-out" not in shown(["d"])
    rollout = [
        {"round": 39, "model": "ab" * 6, "accepted": 10**6, "refused": 0},
        {"round": 10**6, "model": "cd" * 6, "accepted": 14, "refused": 2},
    ]
    page = shown(["d"], rollout=rollout)
    rows = [line.split() for line in page.splitlines() if "ababab" in line or "cdcdcd" in line]
    assert rows == [["1000000", "cd" * 6, "14", "2"], ["39", "ab" * 6, "1000000", "0"]]
    assert max(map(len, page.splitlines())) <= 80
