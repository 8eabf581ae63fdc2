"""What decides: machines that take events and return effects. No clock, socket, thread or file."""
