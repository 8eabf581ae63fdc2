"""Adapters that carry messages: MQTT over a network, and a broker in memory for tests."""
