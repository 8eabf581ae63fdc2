"""What serves the model on a device: the endpoint for the application on the board."""
# ruff: noqa: RUF009 (key() makes a dataclasses.field)

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from fedtier.config.schema import key

Precision = Literal["float32", "int8"]
"""Of the weights of a model that is served."""

LOCAL_HOSTS = ("127.0.0.1", "[::1]", "localhost")
_PORT_MIN, _PORT_MAX = 1024, 65_535
SOCKET_BYTES_MAX = 107  # of a Unix socket's path, by the kernel


def endpoint_complaint(value: Any) -> str:  # noqa: ANN401 (what the schema let pass)
    """What is wrong with an endpoint, to be read behind the name of its key; empty if nothing."""
    host, colon, port = str(value).rpartition(":")
    if "/" in value or not colon:
        return "" if value else '= "" names nothing. Write a path, or 127.0.0.1:PORT.'
    if host not in LOCAL_HOSTS:
        return (
            f'= "{value}": the host is {host!r}; allowed are {", ".join(LOCAL_HOSTS)}: nobody is '
            "asked for a password there. Serve other machines through a program of your own."
        )
    if not (port.isascii() and port.isdigit() and _PORT_MIN <= int(port) <= _PORT_MAX):
        return f'= "{value}": the port is {port!r}; allowed are {_PORT_MIN} to {_PORT_MAX}.'
    return ""


def is_local_port(endpoint: str) -> bool:
    """Whether an endpoint is a port of this machine; otherwise it is the path of a socket."""
    return "/" not in endpoint and ":" in endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceTable:
    """Agent: serves the newest accepted global model to the application on the board.

    Absent: no model is served. See docs/inference.md.
    """

    endpoint: str | None = key(
        "Where the application asks: a path for a Unix socket, relative to the node file, or "
        "127.0.0.1:PORT; inference.sock in the node's state_dir by default.",
        default=None,
        complaint=endpoint_complaint,
    )
    precision: Precision = key(
        "int8: the weights of its matrix products and convolutions are quantized before the model "
        "is scored and served; needs the extra fedtier[int8].",
        default="float32",
    )


def host_and_port(endpoint: str) -> tuple[str, int]:
    """Host and port of an endpoint that is a port of this machine."""
    assert is_local_port(endpoint), endpoint
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)
