"""The decision to serve a model or not, and what a device remembers of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.inference.ledger import Ledger
from edge_agent.inference.verdict import refusal
from fedtier.artefact.evaluate import Score
from fedtier.config.board import BoardTable
from fedtier.core.rollout import VERSIONS_MAX, Rollout, Verdicts, Version
from fedtier.ids import RunId


def judged(correct, *, of=100, loss_units=0):
    return Score(examples=of, correct=correct, loss_units=loss_units, judged=of)


def lossy(loss):
    return Score(examples=10, correct=0, loss_units=round(10 * loss * 2**20))


counts = st.integers(0, 100)
shares = st.floats(0, 1)
losses = st.floats(0, 1000)


@given(counts, shares)
def test_the_first_model_and_one_without_hold_out_are_accepted(correct, drop):
    board = BoardTable(accuracy_drop_max=drop)
    nothing = Score(examples=0, correct=0, loss_units=0)
    assert refusal(judged(correct), None, board=board) == ""
    assert refusal(nothing, judged(correct), board=board) == ""
    assert refusal(judged(correct), nothing, board=board) == ""


@given(counts, counts, shares)
def test_a_model_that_is_no_worse_is_accepted_whatever_the_threshold(served, better, drop):
    board = BoardTable(accuracy_drop_max=drop, loss_rise_max=drop)
    assert refusal(judged(max(served, better)), judged(served), board=board) == ""
    assert refusal(lossy(min(served, better)), lossy(served), board=board) == ""


@given(counts, counts, shares, shares)
def test_a_wider_threshold_refuses_nothing_that_a_narrower_one_accepts(new, served, a, b):
    narrow, wide = (BoardTable(accuracy_drop_max=d, loss_rise_max=d) for d in sorted((a, b)))
    for pair in ((judged(new), judged(served)), (lossy(new), lossy(served))):
        assert not refusal(*pair, board=wide) or refusal(*pair, board=narrow)


@given(counts, counts)
def test_with_no_drop_allowed_one_wrong_answer_more_is_refused(new, served):
    board = BoardTable(accuracy_drop_max=0)
    assert bool(refusal(judged(new), judged(served), board=board)) == (new < served)


@given(losses, losses)
def test_of_models_that_are_right_or_wrong_the_loss_decides_nothing(a, b):
    new, served = (judged(50, loss_units=round(x * 2**20)) for x in (a, b))
    assert refusal(new, served, board=BoardTable(loss_rise_max=0)) == ""


def test_a_refusal_names_both_figures_and_the_threshold():
    said = refusal(judged(40), judged(90), board=BoardTable(accuracy_drop_max=0.1))
    assert said == (
        "accuracy 0.4000 on the own hold-out, 0.9000 of the served model: more than 0.1 lower"
    )
    said = refusal(lossy(2.0), lossy(1.0), board=BoardTable(loss_rise_max=0.5))
    assert said == "loss 2 on the own hold-out, 1 of the served model: more than 0.5 of it higher"


# What is remembered


def version(number):
    return Version(0, number, f"{number:012x}")


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=12))
def test_a_ledger_knows_the_newest_versions_of_its_run_and_reports_each_once(decided):
    ledger = Ledger()
    last = {}
    for number, accepted in decided:
        ledger = ledger.with_verdict(RunId(1), version(number), accepted=accepted)
        kept = [*last, version(number)]
        last[version(number)] = accepted
        last = {v: last[v] for v in sorted(set(kept))[-VERSIONS_MAX:]}
    assert ledger.verdicts == last
    counted = {
        v: Verdicts(accepted=int(a), refused=int(not a)) for v, a in last.items()
    }  # fmt: skip
    assert ledger.rollout(RunId(1)) == Rollout(counted)
    assert list(ledger.rollout(RunId(1)).versions) == sorted(last), "as they travel: oldest first"


def test_another_run_begins_a_ledger_anew():
    ledger = Ledger().with_verdict(RunId(1), version(7), accepted=True)
    assert ledger.verdict(RunId(1), version(7)) is True
    assert ledger.verdict(RunId(2), version(7)) is None
    assert ledger.rollout(RunId(2)) == Rollout()
    after = ledger.with_verdict(RunId(2), version(0), accepted=False)
    assert after.verdicts == {version(0): False}
