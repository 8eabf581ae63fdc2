"""The gate of a link with a budget: what passes, what waits, when it hangs up and comes back."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fedtier.budget import Budget
from fedtier.core.events import Allowance
from fedtier.errors import StorageError
from fedtier.ids import BootNonce, FederationId, IterationPath, NodeId, RunId
from fedtier.limits import DAY_S
from fedtier.runtime.metered import BudgetGate
from fedtier.storage.spending_record import SpendingRecord
from fedtier.transport.base import Traffic
from fedtier.wire import costs
from fedtier.wire.head import Beacon, BlobRef, Head
from fedtier.wire.messages import Presence, Want
from fedtier.wire.packets import encode_packet
from fedtier.wire.parts import Outgoing
from fedtier.wire.plan import CodecSpec, Plan

FEDERATION, CELL, NODE = FederationId("farm"), NodeId("gw"), NodeId("d0")
PART_BYTES = 4096
PRICES = costs.Prices.of(members=2, part_bytes=PART_BYTES, tls=False)
DAY = PRICES.least_of_day
ASKED = PRICES.part + costs.WANT_BYTES  # one part
OUT = Outgoing(bytes(12_000), kind="model", part_bytes=PART_BYTES)
PLAN = Plan(
    seed=7, rounds=3, tau=(1, 1), codecs=(CodecSpec(name="identity"),) * 2, schedule="constant",
    mu=0.1, floor=1.0,
)  # fmt: skip
HEAD = Head(
    nonce=BootNonce(1), seq=5, run=RunId(1), epoch=1, path=IterationPath((0, 0)), state="open",
    task="train", model="ab" * 32, layout="cd" * 32, dimension=3000, artefact="ef" * 32,
    blobs=(BlobRef(form="float32", digest=OUT.digest, total=OUT.total, parts=OUT.parts),), tier=1,
    first_step=0, p0=0.0, p1=1.0, plan=PLAN,
)  # fmt: skip
WANT = Want(digest=OUT.digest, parts=(0,))
UPDATE = Outgoing(bytes(20_000), kind="update", part_bytes=PART_BYTES)


@dataclass
class Link:
    """A child's gate, its clocks, and a count of what crosses its socket."""

    place: Path
    budget: Budget
    now_s: float = 0.0
    wall_s: float = 1_800_000_000.0
    sent: int = 0
    received: int = 0
    told: list[Allowance] = field(default_factory=list)
    before: int = 0  # what was carried in earlier rounds

    def __post_init__(self) -> None:
        self.boot()

    def boot(self) -> None:
        record = SpendingRecord(
            self.place, self.budget, clock=lambda: self.now_s, wall=lambda: self.wall_s + self.now_s
        )
        self.gate = BudgetGate(
            self.budget, record, PRICES, tell=self.told.append, window_s=DAY_S, where="mqtt://b"
        )
        self.sent = self.received = 0

    def connect(self) -> None:
        assert self.gate.wait(wanted=False) is None
        self.gate.opened()
        self.carry(up=900, down=100)

    def carry(self, *, up=0, down=0, settled=True, queued=False):
        self.sent += up
        self.received += down
        return self.gate.look(self._traffic(), settled=settled, queued=queued)

    def use_up(self, *, but: int):
        """Have so much come down that only this is left of the budget; before any ``close``."""
        budget = self.budget.bytes_per_day or self.budget.bytes_per_round
        return self.carry(down=budget - (self.sent + self.received - self.before) - but)

    def close(self) -> None:
        self.gate.closed(self._traffic())

    def say(self, message):
        topic, payload, qos, _ = encode_packet(message, federation=FEDERATION, cell=CELL, node=NODE)
        return self.gate.passage(topic, payload, qos=qos)

    def hear(self, message, node=NODE) -> None:
        topic, payload, _, _ = encode_packet(message, federation=FEDERATION, cell=CELL, node=node)
        self.gate.heard(topic, payload)

    def hear_round(self, number: int) -> None:
        self.before = self.sent + self.received
        self.hear(head(number), node=NodeId("all"))

    def _traffic(self) -> Traffic:
        return Traffic(bytes_sent=self.sent, bytes_received=self.received)


def head(number: int):
    return replace(HEAD, seq=5 + number, path=IterationPath((number, 0)))


def part(out, index):
    return out.part(
        index, run=HEAD.run, epoch=1, path=HEAD.path, nonce=BootNonce(1), seq=HEAD.seq
    )  # fmt: skip


@pytest.fixture
def link(tmp_path):
    return lambda **budget: Link(tmp_path / "budget.record", Budget(**budget))


def test_what_was_asked_for_is_paid_for_before_it_comes(link):
    it = link(bytes_per_day=2 * DAY)
    it.connect()
    assert it.use_up(but=PRICES.reserve + 2 * ASKED - 1) is None
    assert it.say(WANT) == "pass"
    it.hear(part(OUT, 0))
    assert it.carry(up=costs.WANT_BYTES, down=PRICES.part) is None
    # A second part would have to be paid from the reserve, by one byte.
    assert it.say(WANT) == 1.0
    leave = it.carry()
    assert leave is not None
    assert not leave.quietly
    assert "budget_bytes_per_day" in leave.reason


def test_it_comes_back_when_the_day_allows_it_and_says_both(link, caplog):
    caplog.set_level(logging.INFO)
    it = link(bytes_per_day=DAY)
    it.connect()
    assert it.use_up(but=PRICES.reserve) is None
    assert it.carry(down=1) is not None
    it.close()
    assert it.gate.wait(wanted=True) is not None  # to have something to say does not help
    it.now_s = DAY_S - 1
    assert it.gate.wait(wanted=True) is not None
    it.now_s = DAY_S * 97 / 96 + 1  # a slice more than a day
    assert it.gate.wait(wanted=False) is None
    events = [record.message for record in caplog.records]
    # It is said again after an hour or more.
    assert events == ["waiting for the budget"] * 2 + ["the budget allows traffic"]


@pytest.mark.parametrize("wall_s", [0.0, 60.0, -(10.0**9)])
def test_a_restart_forgets_nothing_whatever_the_clock_says_then(link, wall_s):
    it = link(bytes_per_day=DAY)
    it.connect()
    it.use_up(but=PRICES.reserve)
    it.wall_s += wall_s  # a board without a clock boots long before
    it.boot()  # as after a kill: nothing was closed
    assert it.gate.wait(wanted=True) is not None


def test_a_clock_that_is_set_while_it_runs_sets_no_budget_free(link):
    it = link(bytes_per_day=DAY)
    it.wall_s = 0.0  # it booted in 1970
    it.boot()
    it.connect()
    it.use_up(but=PRICES.reserve)
    it.wall_s = 1_800_000_000.0  # and was told the time
    it.carry()
    it.boot()
    assert it.gate.wait(wanted=True) is not None


def test_a_damaged_record_is_not_taken_for_an_empty_one(link):
    it = link(bytes_per_day=DAY)
    it.connect()
    it.place.write_bytes(b"FTR1 and what a bad card makes of it")
    with pytest.raises(StorageError, match=r"budget\.record is damaged"):
        it.boot()


def test_a_round_that_has_no_more_tells_the_machine_and_looks_ever_rarer(link):
    it = link(bytes_per_round=PRICES.least_of_round)
    it.connect()
    it.hear_round(0)
    assert not it.told[-1].short
    it.use_up(but=PRICES.kept + ASKED - 1)
    assert it.say(WANT) == "drop"
    assert it.told[-1].short
    assert "budget_bytes_per_round" in it.told[-1].reason
    it.carry(down=ASKED)
    pauses = []
    for _ in range(5):
        it.now_s += 60.0
        leave = it.carry()
        assert leave is not None
        assert leave.quietly
        it.close()
        wait = it.gate.wait(wanted=False)
        pauses.append(round(wait.seconds))
        assert it.gate.wait(wanted=True) is None  # an answer need not wait
        it.now_s += wait.seconds
        it.connect()
        it.hear_round(0)
    assert pauses == [15, 30, 60, 120, 240]
    it.hear_round(1)
    assert it.say(WANT) == "pass"


def test_an_abstention_is_paid_from_what_bulk_may_not_have(link):
    it = link(bytes_per_round=PRICES.least_of_round)
    it.connect()
    it.hear_round(0)
    it.use_up(but=PRICES.kept)
    small = Outgoing(bytes(700), kind="update", part_bytes=PART_BYTES)
    assert it.say(part(UPDATE, 0)) == "drop"
    assert it.say(part(small, 0)) == "pass"


def test_a_round_without_any_budget_left_waits_and_says_why(link, caplog):
    caplog.set_level(logging.INFO)
    it = link(bytes_per_round=PRICES.least_of_round)
    it.connect()
    it.hear_round(0)
    assert it.use_up(but=PRICES.reserve - 1) is not None
    it.close()
    it.now_s += 10**6
    assert it.gate.wait(wanted=True) is not None
    assert "budget_bytes_per_round" in caplog.records[0].reason


def test_an_update_goes_whole_or_not_at_all(link):
    price = costs.offer_bytes(UPDATE.total, PART_BYTES)
    it = link(bytes_per_day=DAY + 2 * price)
    it.connect()
    it.use_up(but=PRICES.reserve + price - 1)
    assert it.say(part(UPDATE, 0)) == 1.0
    it.carry()
    it.close()
    it.now_s = 2 * DAY_S
    it.connect()
    assert it.say(part(UPDATE, 0)) == "pass"
    it.carry(up=PRICES.part)
    assert it.say(part(UPDATE, 1)) == "pass"


def test_an_update_that_no_day_carries_is_given_up(link):
    it = link(bytes_per_day=DAY)
    it.connect()
    assert it.say(part(UPDATE, 0)) == "drop"
    assert it.told[-1].short
    assert "budget_bytes_per_day" in it.told[-1].reason


def test_what_is_on_its_way_is_not_asked_for_again(link):
    it = link(bytes_per_day=100 * DAY)
    it.connect()
    assert it.say(WANT) == "pass"
    for _ in range(10):
        it.now_s += 5.0
        it.carry(down=100)  # it comes slowly
        assert it.say(WANT) == "drop"
    it.now_s += 11.0  # and stops
    assert it.say(WANT) == "pass"


def test_an_offer_is_not_repeated_while_nobody_is_heard(link):
    it = link(bytes_per_day=100 * DAY)
    it.connect()
    small = Outgoing(bytes(700), kind="update", part_bytes=PART_BYTES)
    offer = part(small, 0)
    assert [it.say(offer) for _ in range(3)] == ["pass", "drop", "drop"]
    it.hear(Presence(status="online", nonce=BootNonce(1)), node=NodeId("all"))
    assert it.say(offer) == "pass"
    it.close()
    it.connect()
    assert it.say(offer) == "pass"


def test_what_did_not_come_is_counted_as_if_it_had(link):
    asked, not_asked = link(bytes_per_day=10 * DAY), link(bytes_per_day=10 * DAY)
    for it in (asked, not_asked):
        it.place = it.place.with_name(f"{id(it)}.record")
        it.boot()
        it.connect()
        it.use_up(but=3 * DAY)
    assert asked.say(WANT) == "pass"
    count = [0, 0]
    for index, it in enumerate((asked, not_asked)):
        it.close()  # the network failed
        it.connect()
        while it.carry(down=100) is None:
            count[index] += 100
    # The question itself may not have been counted yet: it is counted once more.
    assert ASKED - 100 <= count[1] - count[0] <= ASKED + costs.WANT_BYTES


def test_what_was_handed_over_counts_before_the_kernel_has_sent_it(link):
    it = link(bytes_per_day=DAY)
    it.connect()
    passed = 0
    presence = Presence(status="online", nonce=BootNonce(4))
    while it.say(presence) == "pass":
        passed += 1
        assert it.carry(settled=False, queued=True) is None
        assert passed < 1000, "it lets pass what cannot be paid"
    assert passed > 0


def test_a_small_day_does_not_pay_for_idleness(link):
    it = link(bytes_per_day=10 * DAY)
    it.connect()
    it.hear_round(0)
    it.now_s += 61.0
    leave = it.carry()
    assert leave is not None
    assert leave.quietly
    it.close()
    wait = it.gate.wait(wanted=False)
    assert DAY_S / wait.seconds * PRICES.session <= 10 * DAY / 8 * 1.01  # an eighth of it
    assert it.gate.wait(wanted=True) is None


def test_a_large_day_does(link):
    it = link(bytes_per_day=100_000_000)
    it.connect()
    it.hear_round(0)
    it.now_s += 600.0
    assert it.carry() is None


def test_beacons_tell_a_new_round_too(link):
    it = link(bytes_per_round=PRICES.least_of_round)
    it.connect()
    it.hear_round(0)
    it.use_up(but=PRICES.kept)
    assert it.say(WANT) == "drop"
    beacon = Beacon(
        nonce=BootNonce(1), seq=9, run=HEAD.run, epoch=1, path=IterationPath((1,)), state="open"
    )
    it.hear(beacon, node=NodeId("all"))
    assert it.say(WANT) == "pass"


def test_garbage_is_left_to_the_driver(link):
    it = link(bytes_per_day=DAY)
    it.connect()
    it.gate.heard("no/topic", b"")
    it.gate.heard(f"fedtier/v1/{FEDERATION}/{CELL}/all/head", b"{")
    assert it.told == []


def test_a_message_waits_for_its_pace(link):
    it = link(rate_bytes_per_s=1000.0, airtime_share_max=0.5)
    rest_s = PRICES.part / 500.0
    it.connect()
    presence = Presence(status="online", nonce=BootNonce(4))
    assert it.say(presence) == pytest.approx(rest_s + 1024 / 500.0)  # what went before is unknown
    it.now_s = rest_s + 1024 / 500.0 + 1e-6
    assert it.say(presence) == "pass"
    assert isinstance(it.say(presence), float)
