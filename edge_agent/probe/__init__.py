"""What a board can do: ``fedtier probe``, one measurement a file."""
