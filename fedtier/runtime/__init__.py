"""The driver of real processes: events from brokers and workers in, effects performed."""
