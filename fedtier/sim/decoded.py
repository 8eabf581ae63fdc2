"""Messages that were read already: a broadcast is one message, however many children get it."""

from __future__ import annotations

from collections import OrderedDict

from fedtier.wire.messages import Message
from fedtier.wire.packets import decode_packet
from fedtier.wire.topics import Topic

_KEPT = 512  # parts of 64 KiB take 32 MiB


class Decoded:
    """Reads messages as ``decode_packet`` does, the same one once for all who get it."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int], tuple[bytes, Message]] = OrderedDict()

    def __call__(self, topic: Topic, payload: bytes) -> Message:
        """Read a message.

        Raises:
            WireError: If the payload is not what the topic's channel carries.
        """
        # The same object, not equal bytes: to compare those would cost what is to be saved. It is
        # kept with what was read, so that no other can have its identity.
        key = (topic.channel, id(payload))
        found = self._known.get(key)
        if found is None or getattr(found[1], "part", None) != topic.part:
            found = (payload, decode_packet(topic, payload))
            self._known[key] = found
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return found[1]
