"""Configuration: one schema that checks files, explains them, and writes them for every node."""

from __future__ import annotations
