"""fedtier: hierarchical federated learning over MQTT, on edge devices.

Only this package is public; ``edge_agent``, ``gateway`` and ``cloud`` are the programs of the
three roles and may change without notice.
"""

from __future__ import annotations

import os

# onnxruntime reports how it is used to its maker, from a thread of its own, unless this stands here
# before it is loaded. Nothing of a device or of its models does that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
