"""What a plan costs a federation: bytes and seconds of an exchange, of a round, and the budgets.

An *exchange* is what one child does once in an iteration of its parent: it hands its update up and
gets the next model down. Its bytes are those of its socket, a little more than were ever measured:
they take time. What a budget must grant are the bounds by which the child itself keeps it, which
are more.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fedtier.budget import Budget
from fedtier.limits import DAY_S, HEAD_BYTES_BASE, HEAD_BYTES_PER_MEMBER, WINDOW_PARTS
from fedtier.planner.round_time import Times
from fedtier.wire.costs import SIGNS_BYTES_PER_S, Needs
from fedtier.wire.parts import count_parts

Numbers = npt.NDArray[np.float64]

MANIFEST_BYTES = 1024  # with a blob's header and alignment; 600 were seen
PART_BYTES = 192  # header, topic and MQTT's own, and its acknowledgement
_INSTANT_S = 1e-9  # what takes no time by the estimates


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One update up and the next model down, of one child."""

    bytes_up: int
    bytes_down: int
    seconds: float
    trips: int = 1  # to the parent and back, one after the other

    @property
    def bytes(self) -> int:
        """Both directions together."""
        return self.bytes_up + self.bytes_down


def exchange(
    *,
    payload_bytes: int,
    dimension: int,
    members: int,
    part_bytes: int,
    rate_bytes_per_s: float | None,
    latency_s: float,
) -> Exchange:
    """What an exchange takes.

    Args:
        payload_bytes: Of the update, as the codec writes it.
        dimension: d; the model comes down as 4 d bytes.
        members: Children of the cell, which its head lists.
        part_bytes: The largest message.
        rate_bytes_per_s: Of the child's connection, in each direction; None: without a limit.
        latency_s: Of a way to the parent and back. An update that is one message takes one: the
            next model follows its head by itself. Of a larger one the rest is asked for.
    """
    up = payload_bytes + MANIFEST_BYTES
    down = 4 * dimension + MANIFEST_BYTES
    parts = count_parts(up, part_bytes)
    trips = 1 + math.ceil((parts - 1) / WINDOW_PARTS)
    up += PART_BYTES * parts
    down += PART_BYTES * count_parts(down, part_bytes)
    down += HEAD_BYTES_BASE + HEAD_BYTES_PER_MEMBER * members
    moving = 0.0 if rate_bytes_per_s is None else (up + down) / rate_bytes_per_s
    seconds = moving + trips * latency_s
    return Exchange(bytes_up=up, bytes_down=down, seconds=seconds, trips=trips)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What rounds take on a tree, and what its links may carry.

    Attributes:
        times: Of the padded tree.
        exchanges: Of link 1 to N; without them nothing has bytes.
        budgets: Of one child on each of these links; without them any plan is allowed.
        needs: Of the children on each of these links, those of its cells that differ.
    """

    times: Times
    exchanges: Sequence[Exchange] = ()
    budgets: Sequence[Budget] = ()
    needs: Sequence[Collection[Needs]] = ()

    @property
    def links(self) -> int:
        """N."""
        return len(self.times.parents)

    def without_budgets(self) -> Costs:
        """The same where links may carry anything."""
        return replace(self, budgets=[Budget() for _ in self.budgets])

    def exchanges_per_round(self, tau: Sequence[float | Numbers]) -> list[Numbers]:
        """``S_N / S_n`` for link 1 to N: how often one child of the link sends in a round."""
        counts = [np.asarray(1.0)]
        for repeats in reversed(tau[1:]):
            counts.insert(0, counts[0] * np.asarray(repeats, np.float64))
        return counts

    def bytes_per_round(self, tau: Sequence[float | Numbers]) -> list[Numbers]:
        """Of one child on link 1 to N, both directions and what an idle connection says."""
        signs = self._signs_bytes(tau)
        counts = self.exchanges_per_round(tau)
        return [n * each.bytes + signs for n, each in zip(counts, self.exchanges, strict=False)]

    def needed_per_round(self, tau: Sequence[float | Numbers], *, link: int) -> Numbers:
        """Bytes a round that each child on link ``link``, from 1, must be granted for a plan.

        ``fedtier config check`` demands as much, but for the signs of life: it knows no seconds.
        """
        count, signs = self.exchanges_per_round(tau)[link - 1], self._signs_bytes(tau)
        return _most(each.of_round(count) + signs for each in self.needs[link - 1])

    def needed_per_day(
        self, tau: Sequence[float | Numbers], *, link: int, rounds: float = 1.0
    ) -> Numbers:
        """The same of a day in which there are so many rounds."""
        count, signs = self.exchanges_per_round(tau)[link - 1], self._signs_bytes(tau)
        needs = self.needs[link - 1]
        return _most(each.of_day(rounds * count) + rounds * signs for each in needs)

    def _signs_bytes(self, tau: Sequence[float | Numbers]) -> Numbers:
        """Of life, in a round."""
        return np.ceil(SIGNS_BYTES_PER_S * self.round_s(tau))

    def round_s(self, tau: Sequence[float | Numbers]) -> Numbers:
        """Seconds of a round, made longer where a link's airtime is short."""
        return self.iteration_s(tau)

    def iteration_s(self, tau: Sequence[float | Numbers]) -> Numbers:
        """Seconds of an iteration of the slowest node on tier n, for tau_1..tau_n."""
        seconds = np.maximum(self.times.iteration_s(tau), _INSTANT_S)
        for link, often in self._beneath(tau):
            if (sending_s := self._sending_s(link)) > 0:
                seconds = np.maximum(seconds, often * sending_s)
        return seconds

    def least_round_s(self, tier: int) -> float:
        """What airtime alone lets a round take, of links above a tier."""
        return max((self._sending_s(link) for link in range(tier, len(self.budgets))), default=0.0)

    def repeats_max(self, tau: Sequence[float | Numbers]) -> Numbers:
        """How often in a round an iteration of tier n may be repeated, by the bytes of a round."""
        most = np.asarray(np.inf)
        for link, often in self._beneath(tau):
            allowed = self.budgets[link].bytes_per_round if self.budgets else None
            if allowed is not None:
                for each in self.needs[link]:
                    left = allowed - each.beside_round
                    most = np.minimum(most, left / (often * each.iteration))
        return most

    def iterations_max(self, tau: Sequence[float | Numbers], *, deadline_s: float) -> Numbers:
        """How many iterations of tier n the bytes of days allow in a whole run."""
        most = np.asarray(np.inf)
        for link, often in self._beneath(tau):
            allowed = self.budgets[link].bytes_per_day if self.budgets else None
            if allowed is not None:
                for each in self.needs[link]:
                    left = _days(deadline_s) * (allowed - each.beside_day)
                    most = np.minimum(most, left / (often * each.iteration))
        return most

    def _beneath(self, tau: Sequence[float | Numbers]) -> Iterator[tuple[int, Numbers]]:
        """Each link below tier n, from 0, and how often it is used in an iteration of that tier."""
        often = np.asarray(1.0)
        for link in reversed(range(len(tau))):
            yield link, often
            often = often * np.asarray(tau[link], np.float64)

    def _sending_s(self, link: int) -> float:
        """Seconds that must pass between two exchanges, for the link's rate and airtime."""
        if not self.budgets or (rate := self.budgets[link].rate_bytes_per_s) is None:
            return 0.0
        share = self.budgets[link].airtime_share_max or 1.0
        return self.exchanges[link].bytes_up / (rate * share)

    def rounds(self, tau: Sequence[float | Numbers], *, deadline_s: float) -> Numbers:
        """Whole rounds within a deadline and all budgets, as floats; 0 where not even one fits."""
        # A deadline that is a multiple of the round to rounding holds that many rounds.
        most = np.floor(deadline_s / self.round_s(tau) * (1 + 1e-12))
        for link, budget in enumerate(self.budgets, start=1):
            if budget.bytes_per_round is not None:
                needed = self.needed_per_round(tau, link=link)
                most = np.where(needed <= budget.bytes_per_round, most, 0.0)
            if budget.bytes_per_day is not None:
                # At the end of a day's bytes a node pauses until the next.
                a_day = self._rounds_per_day(budget.bytes_per_day, tau, link=link)
                most = np.minimum(most, _days(deadline_s) * a_day)
        return most

    def _rounds_per_day(
        self, allowed: int, tau: Sequence[float | Numbers], *, link: int
    ) -> Numbers:
        count, signs = self.exchanges_per_round(tau)[link - 1], self._signs_bytes(tau)
        most = np.asarray(np.inf)
        for each in self.needs[link - 1]:
            left = max(0, allowed - each.beside_day)
            most = np.minimum(most, np.floor(left / (count * each.iteration + signs)))
        return most


def _days(deadline_s: float) -> float:
    return max(1.0, float(np.floor(deadline_s / DAY_S)))


def _most(numbers: Iterable[Numbers]) -> Numbers:
    """The largest; 0 where there are none, as on a link that no child has."""
    most: Numbers = np.max(list(numbers), axis=0, initial=0.0)
    return most
