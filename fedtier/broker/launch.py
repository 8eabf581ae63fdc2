"""Becomes a broker or a node that the kernel ends when its starter dies, however it dies.

Run as a script, by path: ``launch.py PARENT_PID embedded FILE.toml``, or ``launch.py PARENT_PID
NAME PROGRAM ARGUMENT...`` with any other name; PARENT_PID 0 = live on alone, as a service does.
It imports nothing but the standard library, so that it costs 20 ms and works from any directory.

It is not done in a ``preexec_fn``, which runs Python between fork and exec of a process that may
have threads. The kernel forgets the request when the process changes its user, so mosquitto is
configured to keep the one it is started by.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _die_with(parent_pid: int) -> None:
    if parent_pid == 0 or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the kernel was asked
        sys.exit(1)


def _run_embedded(toml_path: str) -> None:
    from iotcore.iotcore import IotCoreBroker

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    # rumqttd reports every packet it routes as an error.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_DFL)  # the broker's loop never returns to Python
    IotCoreBroker(config_path=toml_path).run_forever()


if __name__ == "__main__":
    _die_with(int(sys.argv[1]))
    if sys.argv[2] == "embedded":
        _run_embedded(sys.argv[3])
    else:
        os.execv(sys.argv[3], sys.argv[3:])
