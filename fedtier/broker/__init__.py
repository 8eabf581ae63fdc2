"""Brokers as processes of their own: starting, checking and stopping them."""

from __future__ import annotations

from fedtier.broker.process import BrokerProcess
from fedtier.broker.settings import BrokerKind, BrokerSettings

__all__ = ["BrokerKind", "BrokerProcess", "BrokerSettings"]
