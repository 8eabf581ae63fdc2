"""The simulator: the machines and performers of the runtime, in one process and virtual time."""
