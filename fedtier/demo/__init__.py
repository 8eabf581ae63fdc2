"""The demo: its data, model, federations and their driver."""
