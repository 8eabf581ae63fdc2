"""An inbox that keeps what it is told, and transports that are closed at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from fedtier.transport.mqtt import MqttTransport


@dataclass
class Recorder:
    events: list[str] = field(default_factory=list)
    messages: list[tuple[str, bytes, bool]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)

    def connected(self) -> None:
        self._event("connected")

    def disconnected(self, reason: str, *, taken_over: bool) -> None:
        self.reasons.append(reason)
        self._event("taken over" if taken_over else "disconnected")

    def message(self, topic: str, payload: bytes, retained: bool) -> None:
        self.messages.append((topic, payload, retained))
        self._event("message")

    def payloads(self, topic: str) -> list[bytes]:
        return [payload for its_topic, payload, _ in list(self.messages) if its_topic == topic]

    def _event(self, name: str) -> None:
        self.threads.add(threading.current_thread().name)
        self.events.append(name)


@pytest.fixture
def recorder() -> Callable[[], Recorder]:
    return Recorder


@pytest.fixture
def connect(eventually) -> Iterator[Callable[..., tuple[MqttTransport, Recorder]]]:
    """Make and start a transport with a recorder; by default wait until it is connected."""
    made: list[MqttTransport] = []

    def make(url, client_id, *filters, wait=True, qos=1, **options):
        inbox = Recorder()
        subscriptions = [(topic_filter, qos) for topic_filter in filters]
        transport = MqttTransport(url, client_id, subscriptions, inbox, **options)
        made.append(transport)
        transport.start()
        if wait:
            eventually(lambda: "connected" in inbox.events, f"{client_id} connects")
        return transport, inbox

    yield make
    for transport in made:
        transport.close()
