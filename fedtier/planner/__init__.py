"""How a federation converges on a given tree, and which plan is best within a deadline.

Pure functions on numbers: nothing here reads a file, a clock or a socket.
"""
