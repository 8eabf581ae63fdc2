"""``python -m edge_agent FILE``: the agent by itself, as ``fedtier agent run`` starts it.

The command line's own libraries take 12 MiB, which a device need not hold while it runs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edge_agent.give_back import keep_one_heap
from edge_agent.run import main
from fedtier.outermost import exit_with

if __name__ == "__main__":
    keep_one_heap()
    exit_with(lambda: main(Path(sys.argv[1]), debug="--debug" in sys.argv[2:]))
