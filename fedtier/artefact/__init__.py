"""A compiled model: its directory, its sessions, what a trainer is, and scoring."""
