"""What the protocol's exchanges cost on a child's link: upper bounds in bytes, both directions.

MQTT's own bytes are in them; TLS, TCP and IP are not. A bound is for the longest names and the
largest messages, so what is planned by these numbers is never more on the wire, unless messages are
lost and said again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from fedtier.ids import NodeId
from fedtier.limits import (
    HEAD_BYTES_BASE,
    HEAD_BYTES_PER_MEMBER,
    NODE_ID_CHARACTERS_MAX,
    WINDOW_PARTS,
)
from fedtier.wire.parts import count_parts
from fedtier.wire.topics import ROOT

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_LONGEST = NodeId("x" * NODE_ID_CHARACTERS_MAX)
_TOPIC_BYTES = len(f"{ROOT}/{_LONGEST}/{_LONGEST}/{_LONGEST}/presence")
_PACKET_BYTES = _TOPIC_BYTES + 12  # topic, its length, packet id, MQTT's header
RECEIPT_BYTES = 6  # a PUBACK
PRESENCE_BYTES = 320 + _PACKET_BYTES + RECEIPT_BYTES
ACK_BYTES = 640 + _PACKET_BYTES  # an answer to an offer, its reason and parts included
BEACON_BYTES = 256 + _PACKET_BYTES
WANT_BYTES = 256 + _PACKET_BYTES
SMALL_UPDATE_BYTES = 4096 + _PACKET_BYTES + RECEIPT_BYTES + ACK_BYTES
"""An abstention or an evaluation, with the answer to it."""

SIGNS_BYTES_PER_S = 40.0  # of life: a beacon and presences, with the usual beacon_s of 30 s

_HANDSHAKE_BYTES = 1024 + 5 * _PACKET_BYTES  # CONNECT with a will and a password, five filters
_UPDATE_OVERHEAD_BYTES = 8192  # of its blob beyond what the codec writes
_TLS_BYTES = 8192  # of a handshake, and of the records of a session's small messages
_LOOKS = 8  # of a round's budget: connections, just to see whether there is another round


def head_bytes(members: int) -> int:
    """A head of a cell with so many members, as it arrives."""
    return HEAD_BYTES_BASE + HEAD_BYTES_PER_MEMBER * members + _PACKET_BYTES + RECEIPT_BYTES


def part_bytes_carried(part_bytes: int) -> int:
    """One part of ``part_bytes``, with its receipt."""
    return part_bytes + _PACKET_BYTES + RECEIPT_BYTES


def session_bytes(head: int) -> int:
    """To connect and hear who is there and what is asked.

    Args:
        head: Bytes of the cell's head, by ``head_bytes``.
    """
    return _HANDSHAKE_BYTES + 2 * PRESENCE_BYTES + head


def model_bytes(dimension: int, part_bytes: int) -> int:
    """A model of ``dimension`` float32 parameters that is wanted part by part."""
    return fetch_bytes(_model_total(dimension), part_bytes)


def _model_total(dimension: int) -> int:
    return 4 * dimension + 4096


def fetch_bytes(total: int, part_bytes: int) -> int:
    """A blob of ``total`` bytes that is wanted part by part, one at a time."""
    parts = count_parts(total, part_bytes)
    overhead = part_bytes_carried(part_bytes) - part_bytes + WANT_BYTES + 128  # a part's header
    return total + parts * overhead


def update_bytes(payload_bytes: int, part_bytes: int) -> int:
    """An update whose codec writes ``payload_bytes``, with the answers to it."""
    return offer_bytes(payload_bytes + _UPDATE_OVERHEAD_BYTES, part_bytes)


def offer_bytes(total: int, part_bytes: int) -> int:
    """An update's blob of ``total`` bytes, with the answers to it."""
    parts = count_parts(total, part_bytes)
    windows = 2 + -(-parts // WINDOW_PARTS)  # the offer, the windows, the verdict
    overhead = part_bytes_carried(part_bytes) - part_bytes + 128
    # The offer is sent again with the first window: it is part 0.
    return total + parts * overhead + windows * ACK_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Bytes of what happens on the links of one cell."""

    head: int
    part: int  # with its receipt
    session: int  # to connect and hear what is asked

    @classmethod
    def of(cls, *, members: int, part_bytes: int, tls: bool) -> Prices:
        """For a cell of so many members and the parts that it sends."""
        head = head_bytes(members)
        session = session_bytes(head) + (_TLS_BYTES if tls else 0)
        return cls(head=head, part=part_bytes_carried(part_bytes), session=session)

    @property
    def reserve(self) -> int:
        """What may be on its way, unasked, when somebody looks; and a farewell."""
        return self.head + BEACON_BYTES + ACK_BYTES + PRESENCE_BYTES

    @property
    def kept(self) -> int:
        """Of a round: what only looks, an abstention and the reserve are paid from."""
        return _LOOKS * self.session + SMALL_UPDATE_BYTES + self.reserve

    @property
    def least_of_round(self) -> int:
        """The least budget of a round with which a child can ask for anything."""
        return self.session + self.kept + self.part + WANT_BYTES

    @property
    def least_of_day(self) -> int:
        """The same of a day."""
        return self.session + self.reserve + max(self.part + WANT_BYTES, SMALL_UPDATE_BYTES)


Count = TypeVar("Count", int, "npt.NDArray[np.float64]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a budget must grant a child, so that it need not abstain.

    Attributes:
        prices: What things cost on its link.
        model: Bytes of a model down, with all that is said about it.
        update: Bytes of an update up, with all that is said about it.
        parts: Of a model.
    """

    prices: Prices
    model: int
    update: int
    parts: int

    @classmethod
    def of(cls, prices: Prices, *, dimension: int, payload_bytes: int, part_bytes: int) -> Needs:
        """For a model of ``dimension`` parameters, of whose update a codec makes so many bytes."""
        return cls(
            prices=prices,
            model=model_bytes(dimension, part_bytes),
            update=update_bytes(payload_bytes, part_bytes),
            parts=count_parts(_model_total(dimension), part_bytes),
        )

    @property
    def iteration(self) -> int:
        """Bytes of one iteration: its head, the model and the update."""
        return self.prices.head + self.model + self.update

    @property
    def beside_round(self) -> int:
        """Bytes of a round's budget that no iteration may use."""
        return self.prices.session + self.prices.kept + self._unfilled

    @property
    def beside_day(self) -> int:
        """The same of a day's."""
        return self.prices.session + self.prices.reserve + self._unfilled

    def of_round(self, iterations: Count) -> Count:
        """The least budget of a round of so many iterations; signs of life come on top."""
        return self.beside_round + iterations * self.iteration

    def of_day(self, iterations: Count) -> Count:
        """The least budget of a day in which so many are made."""
        return self.beside_day + iterations * self.iteration

    @property
    def _unfilled(self) -> int:
        """Any part is paid for as if it were full; what comes back pays for the update."""
        full = self.parts * (self.prices.part + WANT_BYTES)
        return max(0, full - self.model - self.update)
