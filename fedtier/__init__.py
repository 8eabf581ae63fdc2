"""fedtier: hierarchical federated learning over MQTT, on edge devices.

Only this package is public; ``edge_agent``, ``gateway`` and ``cloud`` are the programs of the
three roles and may change without notice.
"""

from __future__ import annotations

__version__ = "0.1.0"
