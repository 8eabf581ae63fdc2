"""``python -m fedtier``: the command line."""

from __future__ import annotations

from fedtier.cli import main

if __name__ == "__main__":
    main()
