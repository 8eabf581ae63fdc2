"""What fedtier costs and what it reaches, measured; one command for each question."""
