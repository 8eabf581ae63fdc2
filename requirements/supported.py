"""Says whether fedtier can be installed on this machine, before pip tries.

It prints nothing and exits with 0 where it can; otherwise it says why not and what to do, and exits
with 1. It takes the standard library alone and runs on a Python too old for the rest.
"""

from __future__ import annotations

import platform
import struct
import sys

PYTHON_MIN = (3, 11)
MACHINES = ("x86_64", "aarch64")
NO_WHEELS = "numpy and onnxruntime have no wheels for it"


def complaint(
    *, system: str, machine: str, pointer_bits: int, version: tuple[int, int], python: str
) -> str:
    """Why fedtier cannot be installed, and what to do; empty where it can.

    Args:
        system: As ``sys.platform`` has it.
        machine: As the kernel has it, such as ``aarch64``.
        pointer_bits: Of this Python, 32 or 64.
        version: Of this Python.
        python: Its path.
    """
    if not system.startswith("linux"):
        return ""  # not tried, so not refused either
    if machine.startswith(("armv6", "armv7", "armv8l")):
        return (
            f"this is 32-bit ARM ({machine}), which is not supported: {NO_WHEELS}. Install a "
            "64-bit system, such as Raspberry Pi OS (64-bit): it runs on Raspberry Pi 3, 4, 5 and "
            "Zero 2 W, and on no Raspberry Pi 1, Zero or Zero W."
        )
    if machine not in MACHINES:
        return f"{machine} is not supported: {NO_WHEELS}. Supported are {' and '.join(MACHINES)}."
    if pointer_bits != 64:
        return (
            f"{python} is a {pointer_bits}-bit program, though the kernel is {machine}: "
            f"{NO_WHEELS}. Install a 64-bit system, such as Raspberry Pi OS (64-bit)."
        )
    if version < PYTHON_MIN:
        wanted, found = (".".join(map(str, pair)) for pair in (PYTHON_MIN, version))
        return f"{python} is Python {found}, not {wanted} or newer: make PYTHON=python{wanted} ..."
    return ""


if __name__ == "__main__":
    reason = complaint(
        system=sys.platform,
        machine=platform.machine(),
        pointer_bits=8 * struct.calcsize("P"),
        version=sys.version_info[:2],
        python=sys.executable,
    )
    if reason:
        sys.exit("error: " + reason)
