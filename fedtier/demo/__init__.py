"""The demo: a whole federation on this machine, started by the commands a testbed uses."""
