"""Run a broker in the foreground, as a service: ``python -m fedtier.broker --kind mosquitto ...``.

This process becomes the broker, so that a service manager sees its signals, its memory and its
exit code, and so that nothing stands between them.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from fedtier.broker.ports import check_port
from fedtier.broker.process import LAUNCH, service_command
from fedtier.broker.settings import KINDS, BrokerSettings
from fedtier.config.files import read_text
from fedtier.errors import ConfigError, FedtierError
from fedtier.limits import PART_BYTES_DEFAULT


def main() -> int:
    """Check, render, and become the broker; returns only when that fails."""
    parser = argparse.ArgumentParser(
        prog="python -m fedtier.broker", description="Run an MQTT broker in the foreground."
    )
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True, help="for its rendered files")
    parser.add_argument("--part-bytes", type=int, default=PART_BYTES_DEFAULT)
    parser.add_argument("--children", type=int, default=64, help="queue limits follow from it")
    parser.add_argument("--sys-interval", type=int, default=10, help="seconds, 0 = no $SYS")
    parser.add_argument("--acl", type=Path, help="an ACL file to use")
    parser.add_argument("--password-file", type=Path)
    arguments = parser.parse_args()
    try:
        settings = BrokerSettings(
            kind=arguments.kind,
            host=arguments.host,
            port=arguments.port,
            part_bytes=arguments.part_bytes,
            children=arguments.children,
            sys_interval_s=arguments.sys_interval,
            acl=None if arguments.acl is None else read_text(arguments.acl),
            password_file=arguments.password_file,
        )
        if settings.port == 0:
            raise ConfigError("a service needs a port that its clients know: --port 1 to 65535")
        check_port(settings.host, settings.port)
        command = service_command(settings, port=settings.port, directory=arguments.dir)
    except FedtierError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    os.execv(sys.executable, [sys.executable, "-P", str(LAUNCH), "0", *command])


if __name__ == "__main__":
    sys.exit(main())
