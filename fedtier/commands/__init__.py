"""Commands of the command line that belong to no single role."""

from __future__ import annotations
