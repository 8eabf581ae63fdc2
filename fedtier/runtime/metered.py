"""The gate of a link with a budget: counts at the socket, and never lets the budget be overrun.

What may come unasked (a head, a beacon, an answer) is held in reserve; what is asked for is paid
for before it is asked for. When a budget has no more, the connection ends until there is some.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from fedtier.budget import Budget
from fedtier.core.events import Allowance
from fedtier.core.spending import Pace
from fedtier.errors import WireError
from fedtier.ids import hex64
from fedtier.runtime.hanging_up import Idleness, Looks
from fedtier.storage.spending_record import SpendingRecord
from fedtier.transport.base import Traffic
from fedtier.transport.gate import Leave, Passage, Wait
from fedtier.transport.packet_size import publish_packet_bytes
from fedtier.wire import costs
from fedtier.wire.head import Head, decode_head_or_beacon
from fedtier.wire.messages import Want
from fedtier.wire.parts import Part
from fedtier.wire.topics import Topic

log = logging.getLogger(__name__)

CONNECT_BYTES = 1024  # what a client sends to connect
_QUIET_S = 10.0  # what was asked for and has not moved for so long is counted as lost
_HOUR_S = 3600.0
_CROSSING_S = 1.0  # where something came so shortly before the end, more may have been on its way
_FAREWELL_BYTES = 64  # receipts and a DISCONNECT that the kernel may not have counted any more


class BudgetGate:
    """See ``fedtier.transport.gate.Gate``."""

    def __init__(
        self,
        budget: Budget,
        record: SpendingRecord,
        prices: costs.Prices,
        *,
        tell: Callable[[Allowance], None],
        window_s: float,
        where: str,
    ) -> None:
        """Begin before the first connection.

        Args:
            budget: What the link may carry.
            record: What of it is spent.
            prices: What things cost on this link.
            tell: Takes what the machine must know; called on the transport's thread.
            window_s: How long a day is.
            where: The broker, for people.
        """
        self._budget = budget
        self._record = record
        self._prices = prices
        self._tell = tell
        self._where = where
        self._looks = Looks()
        self._idleness = Idleness(budget.bytes_per_day, session=prices.session, window_s=window_s)
        self._pace = _pace(budget, prices, now_s=record.now_s)
        self._counted = Traffic(bytes_sent=0, bytes_received=0)
        self._handed = 0  # bytes handed over since all was acknowledged,
        self._settled_sent = 0  # and what had been sent by then
        self._expected = 0  # asked for, not here yet
        self._moved_s = 0.0  # when something last came
        self._active_s = 0.0  # when something last happened but signs of life
        self._opened_s: float | None = None
        self._heard_head = False  # on this connection
        self._blocked = 0  # the price of what a day's budget could not pay
        self._offered = ""  # digest of the update that was paid for on this connection
        self._unanswered = b""  # the part of an update since which nothing was heard
        self._said_at_s: float | None = None  # when it was last said that the budget is waited for

    # Connections

    def wait(self, *, wanted: bool) -> Wait | None:
        """As ``Gate.wait``."""
        now_s = self._record.now_s
        found = self._must_wait(now_s, wanted=wanted)
        if found is None:
            if self._said_at_s is not None:
                self._said_at_s = None
                log.info("the budget allows traffic", extra={"broker": self._where})
            return None
        if self._said_at_s is None or now_s >= self._said_at_s + _HOUR_S:
            self._said_at_s = now_s
            fields = {"broker": self._where, "seconds": round(found.seconds, 1)}
            log.info("waiting for the budget", extra=fields | {"reason": found.reason})
        return found

    def _must_wait(self, now_s: float, *, wanted: bool) -> Wait | None:
        spending, need = self._record.spending, self._prices.session + self._prices.reserve
        left = spending.left_of_round()
        if left is not None and left < need:
            reason = f"{self._of_round(left)}, too few to see whether there is another"
            return Wait(seconds=_HOUR_S, reason=reason)
        if spending.day is not None:
            wanted_bytes = min(need + self._blocked, spending.day.bytes_max)
            at_s = spending.day.when(wanted_bytes, now_s)
            if at_s > now_s:
                return Wait(seconds=at_s - now_s, reason=self._of_day(spending.day.left(now_s)))
        if now_s < self._looks.at_s and not wanted:
            return Wait(seconds=self._looks.at_s - now_s, reason="to look rarely costs less")
        self._record.cover(need)
        return None

    def opened(self) -> None:
        """As ``Gate.opened``."""
        self._opened_s = self._moved_s = self._active_s = self._record.now_s
        self._heard_head = False
        self._blocked = 0
        self._offered = ""
        self._unanswered = b""
        if self._pace is not None:
            self._pace.sent(CONNECT_BYTES, self._record.now_s)

    def closed(self, traffic: Traffic) -> None:
        """As ``Gate.closed``: what was on its way is counted as if it had come."""
        now_s = self._record.now_s
        self._count(traffic, now_s)
        crosses = self._opened_s is not None and now_s < self._moved_s + _CROSSING_S
        crossing = self._prices.reserve if crosses else 0
        last = self._owed + self._expected + crossing + _FAREWELL_BYTES
        self._record.spending.spend(last, now_s)
        self._settle()
        self._expected = 0
        self._opened_s = None
        self._record.cover(self._prices.reserve)

    def look(self, traffic: Traffic, *, settled: bool, queued: bool) -> Leave | None:
        """As ``Gate.look``."""
        now_s = self._record.now_s
        self._count(traffic, now_s)
        if settled:
            self._settle()
        self._record.cover(self._prices.reserve)
        return self._must_leave(now_s) or self._may_leave(now_s, queued=queued)

    def _must_leave(self, now_s: float) -> Leave | None:
        spending, reserve = self._record.spending, self._prices.reserve
        day = spending.day
        if day is not None:
            left = day.left(now_s) - self._owed
            if left < reserve:
                self._block(day.bytes_max, 0)
            if self._blocked:
                return Leave(reason=self._of_day(left), quietly=False)
        left_of_round = spending.left_of_round()
        if left_of_round is not None and left_of_round - self._owed < reserve:
            self._looks.later(now_s)
            return Leave(reason=self._of_round(left_of_round), quietly=True)
        return None

    def _block(self, bytes_max: int, price: int) -> None:
        """Come back when this can be paid, and not for next to nothing."""
        self._blocked = max(price, bytes_max // 2)

    def _may_leave(self, now_s: float, *, queued: bool) -> Leave | None:
        """Hang up where nothing is to be done, and to stay would cost what is needed later."""
        opened_s = self._opened_s
        if opened_s is None or queued or self._owed or self._expected:
            return None
        left = self._record.spending.left_of_round()
        stay_s = Looks.STAY_S if self._heard_head else Looks.STAY_MAX_S
        if left is not None and left < self._prices.kept and now_s >= opened_s + stay_s:
            self._looks.later(now_s)
            return Leave(reason=f"{self._of_round(left)}, kept for looks", quietly=True)
        interval_s = self._idleness.interval_s
        if interval_s is not None and now_s >= self._active_s + Idleness.PATIENCE_S:
            self._looks.afresh()
            self._looks.at_s = now_s + interval_s
            return Leave(reason="nothing to do, and to stay costs the day's budget", quietly=True)
        return None

    # Messages

    def passage(self, topic: str, payload: bytes, *, qos: int) -> Passage:
        """As ``Gate.passage``."""
        now_s, channel = self._record.now_s, Topic.parse(topic).channel
        if self._pace is not None and now_s < self._pace.ready_at_s:
            return self._pace.ready_at_s - now_s
        if channel == "want" and self._expected:
            if now_s < self._moved_s + _QUIET_S:
                return "drop"  # it is on its way
            self._record.spending.spend(self._expected, now_s)
            self._expected = 0
        if channel == "update" and payload == self._unanswered:
            return "drop"  # nobody was heard since it was said
        packet = publish_packet_bytes(topic, len(payload), qos=qos)
        price, is_bulk = self._price(channel, payload, packet)
        if self._is_too_much(channel, price, is_bulk=is_bulk):
            return "drop"
        day = self._record.spending.day
        if day is not None and price > day.left(now_s) - self._pledged:
            self._block(day.bytes_max, price)
            return 1.0  # it keeps its place over the wait that begins now
        self._record.cover(price + self._prices.reserve)
        self._handed += packet
        if channel == "want" and is_bulk:
            self._expected += price
        if channel == "update":
            self._unanswered = payload
        if channel != "presence":
            self._active_s = now_s
        if self._pace is not None:
            self._pace.sent(packet + costs.RECEIPT_BYTES, now_s)
        return "pass"

    def heard(self, topic: str, payload: bytes) -> None:
        """As ``Gate.heard``."""
        self._unanswered = b""
        try:
            where = Topic.parse(topic)
            if where.channel == "head":
                self._heard_head_or_beacon(payload)
        except WireError:
            return  # garbage, of which the driver tells
        if where.channel in ("model", "artefact"):
            self._expected = max(0, self._expected - self._prices.part - costs.WANT_BYTES)
        if where.channel not in ("presence", "head"):
            self._active_s = self._record.now_s

    def _heard_head_or_beacon(self, payload: bytes) -> None:
        message = decode_head_or_beacon(payload)
        self._heard_head = True
        if self._record.spending.hear_round(hex64(message.run), message.path.round):
            self._looks.afresh()
            self._active_s = self._record.now_s
        if isinstance(message, Head):
            self._active_s = self._record.now_s
            left = self._record.spending.left_of_round()
            if left is not None:
                self._say(left - self._prices.kept, self._to_spend(left), short=False)

    def _price(self, channel: str, payload: bytes, packet: int) -> tuple[int, bool]:
        """What a message and the answers to it may cost, and whether that is model or update."""
        if channel == "want":
            parts = len(Want.decode(payload).parts)
            if parts:
                return parts * (self._prices.part + costs.WANT_BYTES), True
            return packet + self._prices.head, False
        if channel != "update":
            return packet + costs.RECEIPT_BYTES, False
        part = Part.decode(payload, kind="update")
        if part.parts > 1 and part.digest != self._offered:  # once: it is sent whole, or not at all
            self._offered = part.digest
            return costs.offer_bytes(part.total, len(payload)), True
        return packet + costs.RECEIPT_BYTES + costs.ACK_BYTES, False

    def _is_too_much(self, channel: str, price: int, *, is_bulk: bool) -> bool:
        """Whether waiting would not help, which the machine is told."""
        left, day = self._record.spending.left_of_round(), self._record.spending.day
        if left is not None:
            kept = self._prices.kept - self._prices.reserve if is_bulk else 0
            if price > left - self._pledged - kept:
                self._refuse(channel, price, self._to_spend(left))
                return True
        if day is not None and price + self._prices.session + self._prices.reserve > day.bytes_max:
            self._refuse(channel, price, f"budget_bytes_per_day = {day.bytes_max}")
            return True
        return False

    def _refuse(self, channel: str, price: int, left: str) -> None:
        self._offered = ""
        if channel in ("want", "update"):
            self._say(0, f"{left}, and {price} are needed", short=True)

    def _say(self, count: int, reason: str, *, short: bool) -> None:
        allowance = Allowance(side="up", bytes_left=max(0, count), short=short, reason=reason)
        self._tell(allowance)

    # Counting

    @property
    def _owed(self) -> int:
        """Handed over, and not yet counted as sent."""
        return max(0, self._handed - (self._counted.bytes_sent - self._settled_sent))

    def _settle(self) -> None:
        self._handed, self._settled_sent = 0, self._counted.bytes_sent

    @property
    def _pledged(self) -> int:
        return self._owed + self._expected + self._prices.reserve

    def _count(self, traffic: Traffic, now_s: float) -> None:
        came = traffic.bytes_received - self._counted.bytes_received
        gone = traffic.bytes_sent - self._counted.bytes_sent
        self._counted = traffic
        if came:
            self._moved_s = now_s
        if came + gone:
            self._record.spending.spend(came + gone, now_s)

    def _of_round(self, left: int) -> str:
        return f"budget_bytes_per_round = {self._budget.bytes_per_round}: {left} bytes are left"

    def _to_spend(self, left: int) -> str:
        kept = min(left, self._prices.kept)
        return f"{self._of_round(left)}, {kept} of them kept to look and answer"

    def _of_day(self, left: int) -> str:
        return f"budget_bytes_per_day = {self._budget.bytes_per_day}: {left} bytes are left"


def _pace(budget: Budget, prices: costs.Prices, *, now_s: float) -> Pace | None:
    rate = budget.rate_bytes_per_s
    if rate is None:
        return None
    pace = rate * (budget.airtime_share_max or 1.0)
    return Pace(pace, ready_at_s=now_s + prices.part / pace)
