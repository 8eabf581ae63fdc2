"""The same task done by others: torch in the agent's process, and a client of Flower."""
