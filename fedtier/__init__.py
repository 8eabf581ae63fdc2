"""fedtier: hierarchical federated learning over MQTT, on edge devices.

Only this package is public; ``edge_agent``, ``gateway`` and ``cloud`` are the programs of the
three roles and may change without notice.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedtier.api import (
        Choice,
        Estimates,
        Faults,
        Federation,
        Simulated,
        load,
        plan,
        simulate,
    )

__all__ = [
    "Choice",
    "Estimates",
    "Faults",
    "Federation",
    "Simulated",
    "__version__",
    "load",
    "plan",
    "simulate",
]

# onnxruntime reports how it is used to its maker, from a thread of its own, unless this stands here
# before it is loaded. Nothing of a device or of its models does that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # noqa: ANN401 (whatever is offered)
    """Load what a notebook asks for only when it does: a device holds none of it.

    Raises:
        ConfigError: If it needs what is not installed; it says how to install it.
    """
    if name in __all__:
        with import_module("fedtier.extras").needs_extra("sim"):
            return getattr(import_module("fedtier.api"), name)
    raise AttributeError(f"module 'fedtier' has no attribute {name!r}")
