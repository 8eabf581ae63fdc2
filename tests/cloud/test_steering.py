"""A run that plans itself: when it plans, when it plans again, and what it tells of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from cloud.plan import plan_of
from cloud.steering import PLANS_FILE, Steering
from fedtier.config.federation import Federation, parse_federation
from fedtier.core.counts import FIGURE_MAX
from fedtier.errors import ConfigError
from fedtier.ids import RunId
from fedtier.planner.estimates import Estimates, LinkEstimate, PilotRound

DEVICES = ("a", "b", "c", "d")
DIMENSION = 10_000
PILOT_S = 20.0
HUGE = FIGURE_MAX // 2


def federation(**auto: object) -> Federation:
    keys = "\n".join(f"{k} = {json.dumps(v)}" for k, v in {"deadline_s": 600.0, **auto}.items())
    text = f"""
[federation]
id = "small"
[tree]
cloud = ["east", "west"]
east = ["a", "b"]
west = ["c", "d"]
[model]
artefact = "package:imu"
[plan]
tau = "auto"
[plan.schedule]
mu = 0.4
[plan.auto]
{keys}
[[link]]
codec = "qsgd"
levels = 7
[[link]]
codec = "qsgd"
levels = 31
[data]
source = "npz-directory"
path = "data"
traits = {{ side = 0 }}
"""
    return parse_federation(text, where="small.toml", directory=Path("/"))


def estimates(*, latency_s: tuple[float, float] = (0.2, 1.0)) -> Estimates:
    """Of a federation that learns quickly at first, on links that take a while."""
    rounds = [(2.0, 1.6), (1.6, 1.35), (1.35, 1.2), (1.2, 1.1)]
    return Estimates(
        dimension=DIMENSION,
        step_s=dict.fromkeys(DEVICES, 0.05),
        link=tuple(
            LinkEstimate(codec="qsgd", parameters={"levels": levels}, q=0.1, latency_s=seconds)
            for levels, seconds in zip((7, 31), latency_s, strict=True)
        ),
        gap=2.0, sigma2=1.0, zeta2=(0.3, 0.1), L=2.0, Lh=0.5, Lv=2.0,
        progress=tuple(
            PilotRound(tau=(4, 1), mu=0.4, loss_before=a, loss_after=b) for a, b in rounds
        ),
    )  # fmt: skip


class Run:
    """A run that has its pilot behind it."""

    def __init__(self, directory: Path, asked: Federation) -> None:
        self.directory, self.federation = directory, asked
        self.asked = plan_of(asked)
        self.steering = self.boot()
        self.done = 0
        self.seconds = 0.0
        self.onward = None

    def boot(self, run: int = 5) -> Steering:
        return Steering(
            self.federation, self.asked, run=RunId(run),
            state_dir=self.directory, run_dir=self.directory,
        )  # fmt: skip

    def pilot(self) -> None:
        for _ in range(4):
            self.round(PILOT_S / 4)
            assert self.onward is None, "the pilot has a plan of its own"

    def planned(self, found: Estimates | None = None, *, reason: str = "") -> None:
        self.pilot()
        self.onward = self.steering.first(found, seconds=self.seconds, reason=reason)

    def round(
        self,
        seconds: float | None = None,
        *,
        step_s: float = 0.05,
        exchange_s: tuple[float, float] = (0.2, 1.0),
        by_times: Estimates | None = None,
    ) -> None:
        """A round of such steps and exchanges, which takes so long; None: as long as these."""
        steps, repeats = self.steering.plan.tau
        trained_s = steps * repeats * step_s
        gathered_s = trained_s + repeats * exchange_s[0]
        spans_s = (trained_s, gathered_s, gathered_s + exchange_s[1])
        self.done += 1
        self.seconds += spans_s[-1] if seconds is None else seconds
        spans = {tier: round(1e6 * span_s) for tier, span_s in enumerate(spans_s)}
        self.onward = self.steering.after_round(
            self.done, spans, seconds=self.seconds, by_times=by_times
        )

    @property
    def round_s(self) -> float:
        return self.lines[-1]["round_s"]

    @property
    def lines(self) -> list[dict]:
        path = self.directory / PLANS_FILE
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path, federation())


def test_the_pilot_is_the_files_and_ends_in_a_plan_for_what_is_left(run):
    assert run.asked.tau == (8, 1)
    assert run.asked.pilot == 4
    run.planned(estimates())
    (line,) = run.lines
    assert line["reason"] == "after a pilot of 4 rounds"
    assert tuple(line["tau"]) == run.onward.plan.tau == run.steering.plan.tau
    # On links that take 20 times as long as a step nobody would send after every eighth.
    assert line["tau"][0] > 8
    assert run.onward.plan.pilot == 4
    left_s = 600 - PILOT_S
    assert left_s - line["round_s"] < (line["rounds"] - 4) * line["round_s"] <= left_s
    assert (run.onward.p0, run.onward.p1) == (0.0, pytest.approx(line["round_s"] / left_s))


def test_rounds_as_planned_change_nothing_and_the_schedule_ends_with_the_last(run):
    run.planned(estimates())
    before = run.onward
    while run.onward.plan.rounds > run.done:
        run.round(run.round_s)
        assert run.onward.p0 <= before.p1 + 1e-9, "no step of the schedule is taken twice"
        assert run.onward.plan.tau == before.plan.tau
        before = run.onward if run.onward.plan.rounds > run.done else before
    assert before.p1 == 1.0
    assert run.seconds <= 600
    assert len(run.lines) == 1


def test_one_odd_round_is_an_accident_and_two_in_a_row_are_a_change(run):
    run.planned(estimates())
    round_s = run.round_s
    for seconds in (3 * round_s, round_s, 0.3 * round_s, round_s):
        run.round(seconds)
    assert len(run.lines) == 1
    for _ in range(2):
        run.round(exchange_s=(0.2, 12.0))
    first, second = run.lines
    assert "an exchange on link 2 took 12 s where 1 s were estimated" in second["reason"]
    assert f"where {round_s:.2f} s were planned" in second["reason"]
    assert second["after_round"] == run.done
    # A link that takes 12 times as long is used more seldom: more local steps between.
    assert second["tau"][0] * second["tau"][1] > first["tau"][0] * first["tau"][1]
    assert tuple(second["tau"]) == run.onward.plan.tau


def test_after_a_change_the_new_times_are_the_usual_ones(run):
    run.planned(estimates())
    for _ in range(6):
        run.round(exchange_s=(0.2, 12.0))
    assert len(run.lines) == 2


def test_faster_rounds_are_a_change_too(run):
    run.planned(estimates(latency_s=(2.0, 8.0)))
    for _ in range(2):
        run.round(exchange_s=(0.05, 0.2))
    assert len(run.lines) == 2
    assert "link 1" in run.lines[1]["reason"]
    assert "link 2" in run.lines[1]["reason"]


def test_slower_steps_are_a_change_of_their_own(run):
    run.planned(estimates())
    for _ in range(2):
        run.round(step_s=0.2)
    first, second = run.lines
    assert "; a local step took 0.2 s where 0.05 s were estimated" in second["reason"]
    assert "link" not in second["reason"]
    assert math.prod(second["tau"]) < math.prod(first["tau"]), "they cost more beside messages"


def test_what_no_link_explains_is_told_and_counted_in(run):
    run.planned(estimates())
    round_s = run.round_s
    for _ in range(2):
        run.round(2 * round_s)
    line = run.lines[1]
    assert "link" not in line["reason"].split("; ")[0]
    # Everything takes twice as long, so no other tau is better; but fewer rounds fit.
    assert line["reason"].endswith("no plan is better")
    assert line["tau"] == run.lines[0]["tau"]
    assert line["round_s"] == pytest.approx(2 * round_s, rel=0.01)


def test_a_restart_goes_on_as_it_was_and_forgets_rounds_that_are_not_durable(run):
    run.planned(estimates())
    planned = run.onward
    assert run.boot().resume(4, seconds=run.seconds) == planned
    run.round(run.round_s)
    assert run.boot().resume(5, seconds=run.seconds) == run.onward
    again = run.boot()
    assert again.resume(4, seconds=run.seconds) == planned
    assert again.plan == planned.plan
    assert run.boot(run=6).resume(0, seconds=0.0) is None, "another run has nothing to go on from"


def test_a_decision_of_a_round_that_is_not_durable_is_forgotten(run):
    run.planned(estimates())
    for _ in range(2):
        run.round(exchange_s=(0.2, 12.0))
    first, second = run.lines
    run.boot().resume(run.done, seconds=run.seconds)
    assert run.lines == [first, second]
    run.boot().resume(run.done - 1, seconds=run.seconds)
    assert run.lines == [first], "the round is done again, perhaps in another time"


def test_a_decision_that_is_taken_again_is_one_line(run):
    """After a gradient the round before it is durable already, and the decision may not be."""
    run.pilot()
    record = run.directory / "steering.record"
    before = record.read_bytes()
    run.steering.first(estimates(), seconds=run.seconds)
    record.write_bytes(before)
    run.boot().first(estimates(), seconds=run.seconds)
    assert len(run.lines) == 1


def test_an_odd_round_before_a_restart_counts(run):
    run.planned(estimates())
    run.round(exchange_s=(0.2, 12.0))
    run.steering = run.boot()
    run.steering.resume(run.done, seconds=run.seconds)
    run.round(exchange_s=(0.2, 12.0))
    assert len(run.lines) == 2


def test_without_estimates_the_run_goes_on_by_its_pilots_plan(run):
    run.planned(None, reason="the pilot measured 0 gradients")
    (line,) = run.lines
    assert line["reason"] == "not planned: the pilot measured 0 gradients"
    assert line["tau"] == [8, 1]
    assert line["rounds"] == 4 + int((600 - PILOT_S) / (PILOT_S / 4))
    for _ in range(3):
        run.round(9 * PILOT_S)
    assert len(run.lines) == 1, "there is nothing to plan by"


def test_a_deadline_that_is_too_short_ends_the_run_and_says_which_would_do(tmp_path):
    run = Run(tmp_path, federation(deadline_s=21.0))
    run.planned(estimates())
    assert "the smallest deadline in which anything is trained" in run.lines[0]["reason"]
    assert run.onward.plan.rounds == run.done


def test_a_learning_rate_that_is_kept_stays_the_files(tmp_path):
    run = Run(tmp_path, federation(keep_mu=True))
    run.planned(estimates())
    assert run.lines[0]["mu"] == 0.4


def test_codecs_are_chosen_only_where_that_is_asked(tmp_path):
    run = Run(tmp_path / "no", federation())
    chosen = Run(tmp_path / "yes", federation(codecs=True))
    slow = replace(
        estimates(),
        link=tuple(replace(each, rate_bytes_per_s=2000.0) for each in estimates().link),
    )
    for each in (run, chosen):
        each.directory.mkdir()
        each.planned(slow)
    assert run.onward.plan.codecs == run.asked.codecs
    assert chosen.onward.plan.codecs != chosen.asked.codecs


@pytest.mark.parametrize(("second", "over"), [(25.0, False), (55.0, False), (70.0, True)])
def test_a_pilot_ends_before_it_takes_more_than_its_share(run, second, over):
    """Of 600 seconds it may take 120, and after two rounds the next would take as long again."""
    assert not run.steering.is_pilot_over(1, seconds=500.0), "a gradient alone is none"
    assert run.steering.is_pilot_over(2, seconds=second) == over
    assert run.steering.is_pilot_over(4, seconds=second)


@pytest.mark.parametrize(("deadline_s", "planned"), [(60.0, True), (600.0, False)])
def test_a_run_is_planned_by_times_if_the_shortest_pilot_takes_more_than_its_share(
    tmp_path, deadline_s, planned
):
    """28 steps of .05 s, and 7 vectors where an exchange moves 1.2: some 8 s, of 12 and 120."""
    run = Run(tmp_path, federation(deadline_s=deadline_s))
    run.round(seconds=5.0, by_times=estimates())
    assert (run.onward is not None) == planned
    assert len(run.lines) == planned


def test_a_pilot_is_begun_where_the_first_round_does_not_tell_all_times(tmp_path):
    """Who was away may come back."""
    run = Run(tmp_path, federation(deadline_s=60.0))
    run.round(seconds=5.0, by_times=replace(estimates(), step_s={"a": 0.05}))
    assert run.onward is None


def test_a_run_without_time_for_a_pilot_is_planned_anew_if_its_times_are_odd(tmp_path):
    """The first round's times are told by one round, so that one other corrects them."""
    run = Run(tmp_path, federation(deadline_s=60.0))
    run.round(seconds=5.0, by_times=estimates())
    assert "too short for a pilot" in run.lines[0]["reason"]
    assert run.onward.plan.pilot == 0, "no gradient is asked for any more"
    run.round(exchange_s=(0.2, 8.0))
    assert "an exchange on link 2 took 8 s" in run.lines[1]["reason"]


@pytest.mark.parametrize(
    ("deadline_s", "change", "said"),
    [
        (600.0, {"step_s": {"a": 0.05}}, "no step_s of 'b'"),
        (0.5, {}, "the smallest deadline in which anything is trained"),
    ],
)
def test_a_run_that_cannot_be_planned_by_earlier_estimates_does_not_begin(
    tmp_path, deadline_s, change, said
):
    run = Run(tmp_path, federation(deadline_s=deadline_s))
    with pytest.raises(ConfigError, match=said):
        run.steering.first(replace(estimates(), **change), seconds=0.0)
    assert run.lines == []


def test_a_pilot_that_outlasts_the_deadline_is_the_whole_run(tmp_path, caplog):
    run = Run(tmp_path, federation(deadline_s=PILOT_S / 2))
    run.round(PILOT_S / 4)
    assert run.onward is None
    run.round(PILOT_S / 4)
    (line,) = run.lines
    assert line["reason"].endswith("the deadline is over")
    assert (line["rounds"], line["tau"]) == (2, [8, 1])
    assert run.onward.plan.pilot == 0, "no gradient is asked for any more"
    assert "run not planned" in caplog.messages


def test_of_a_round_that_an_earlier_boot_had_opened_no_time_counts(run):
    """Its answers were there, or came while the cloud was away."""
    run.planned(estimates())
    before = run.onward.plan
    for took_s in (1e-3, 9 * run.round_s):
        run.done, run.seconds = run.done + 1, run.seconds + took_s
        run.onward = run.steering.after_round(run.done, None, seconds=run.seconds)
    assert len(run.lines) == 1
    assert run.onward.plan.tau == before.tau
    left = math.floor((600 - run.seconds) / run.round_s)
    assert run.onward.plan.rounds == run.done + left, "but the deadline holds"


def test_one_round_that_takes_very_long_does_not_end_a_run(run):
    """A broker was restarted in it. What comes next may be as it was."""
    run.planned(estimates())
    run.round(250.0)
    assert run.onward.plan.rounds > run.done
    run.round()
    assert run.onward.plan.rounds > run.done + 1
    assert len(run.lines) == 1


def test_a_round_of_no_time_ends_nothing(run):
    """A clock that stood still, or a simulation in which nothing takes time."""
    run.planned(estimates())
    for seconds in (0.0, -3.0):
        run.round(seconds)
        assert 0 <= run.onward.p0 <= run.onward.p1 <= 1, "what a head may carry"
        assert run.onward.plan.rounds > run.done


def test_what_could_not_be_planned_by_is_not_tried_again(run):
    """A device was away in the pilot: how fast it is, is not known."""
    run.planned(replace(estimates(), step_s={"a": 0.1}))
    (line,) = run.lines
    assert line["tau"] == [8, 1]
    for _ in range(4):
        run.round(9 * PILOT_S)
    assert len(run.lines) == 1


def test_a_pilot_whose_loss_did_not_fall_is_one_of_times(run):
    flat = tuple(replace(p, loss_after=9.0) for p in estimates().progress)
    run.planned(replace(estimates(), progress=flat))
    (line,) = run.lines
    assert "the pilot's loss went from 2 to 9" in line["reason"]
    assert line["reason"].endswith("Planned by times alone.")
    assert line["tau"][0] > 8
    for _ in range(2):
        run.round(exchange_s=(0.2, 12.0))
    assert "an exchange on link 2 took 12 s" in run.lines[1]["reason"], "and it follows them"


def test_without_a_pilot_a_deadline_that_is_too_short_is_refused(tmp_path):
    run = Run(tmp_path, federation(deadline_s=0.5))
    with pytest.raises(ConfigError, match=r"\[plan.auto\].*smallest deadline"):
        run.steering.first(estimates(), seconds=0.0)
    assert run.lines == []


@pytest.mark.parametrize(
    "told",
    [
        {}, {8: 10**7}, {0: HUGE}, {0: 0}, {0: HUGE, 1: HUGE, 2: HUGE}, {0: 0, 1: 0, 2: 0},
        {1: 0, 2: HUGE}, {0: 0, 1: HUGE, 2: 0}, {0: HUGE, 1: 0},
    ],
    ids=str,
)  # fmt: skip
def test_a_child_that_lies_makes_no_plan_that_cannot_be(run, told):
    run.planned(estimates())
    slow_s = 3 * run.round_s
    for _ in range(2):
        run.done, run.seconds = run.done + 1, run.seconds + slow_s
        run.onward = run.steering.after_round(run.done, told, seconds=run.seconds)
    assert len(run.lines) == 2, "there was an occasion to believe it"
    # No part of a round takes longer than all of it: rounds stay within the deadline.
    assert run.round_s <= 600 - run.seconds
    assert math.prod(run.onward.plan.tau) < 100_000
    assert run.onward.plan.rounds > run.done


def test_no_more_rounds_are_planned_for_than_are_asked_for(tmp_path):
    """Two rounds are left: in a long time they come furthest with many local steps each."""
    many, few = (Run(tmp_path / name, federation()) for name in ("many", "few"))
    few.asked = replace(few.asked, rounds=6)
    for each in (many, few):
        each.directory.mkdir()
        each.steering = each.boot()
        each.planned(estimates())
    assert few.onward.plan.rounds == 6
    assert math.prod(few.onward.plan.tau) > 2 * math.prod(many.onward.plan.tau)


def test_a_run_whose_record_is_lost_is_where_it_was(run):
    run.planned(estimates())
    for _ in range(2):
        run.round(run.round_s)
    (run.directory / "steering.record").unlink()
    again = run.boot()
    assert again.resume(run.done, seconds=run.seconds) is None
    onward = again.first(estimates(), seconds=run.seconds)
    assert run.lines[-1]["after_round"] == run.done
    assert onward.plan.pilot == 4
    assert onward.plan.rounds * run.round_s < 600


@pytest.mark.parametrize("factor", [1e-30, 1e30])
@pytest.mark.parametrize("name", ["gap", "sigma2", "zeta2", "L", "Lh", "Lv"])
def test_absurd_constants_make_no_plan_that_cannot_be(run, name, factor):
    """What one child tells can move each of them that far."""
    honest = getattr(estimates(), name)
    absurd = tuple(factor * z for z in honest) if name == "zeta2" else factor * honest
    run.planned(replace(estimates(), **{name: absurd}))
    assert math.prod(run.onward.plan.tau) * 0.05 < 600
    assert run.onward.plan.rounds > 4
    assert 0.004 <= run.onward.plan.mu <= 0.4
