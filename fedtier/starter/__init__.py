"""A small federation with data of its own, which `fedtier new` writes for somebody to change.

``federation.toml``, ``net.py`` and ``README.md`` are written as they stand here, but for the data
table of ``.npz`` files.
"""

from __future__ import annotations
