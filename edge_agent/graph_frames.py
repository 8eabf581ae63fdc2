"""What the agent and its graph process say to one another: a JSON document and some arrays.

On the socket: bytes of the text (u32, little-endian), the text (JSON; its ``arrays`` lists name,
dtype and shape of each array), then each array's bytes as they lie in memory. Both ends are of one
machine and one installation, so nothing is checked but the length.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedtier.artefact.open_graph import Array

_LENGTH = struct.Struct("<I")

Frame = tuple[dict[str, Any], dict[str, Array]]


def send(link: socket.socket, document: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Say one frame.

    Raises:
        OSError: If the other end is gone.
    """
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    listing = [[name, a.dtype.str, np.shape(arrays[name])] for name, a in whole.items()]
    text = json.dumps({"document": document, "arrays": listing}).encode()
    link.sendall(_LENGTH.pack(len(text)) + text)
    for array in whole.values():
        link.sendall(_bytes_of(array))


def receive(link: socket.socket) -> Frame | None:
    """Hear one frame; None where the other end is gone.

    Raises:
        TimeoutError: If the socket's time is up before it began.
    """
    try:
        (length,) = _LENGTH.unpack(_exactly(link, _LENGTH.size))
        content = json.loads(_exactly(link, length))
        arrays: dict[str, Array] = {}
        for name, dtype, shape in content["arrays"]:
            array = np.empty(shape, dtype)
            _fill(link, _bytes_of(array))
            arrays[name] = array
    except (EOFError, ConnectionError):
        return None
    return content["document"], arrays


def _bytes_of(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _exactly(link: socket.socket, length: int) -> bytes:
    content = bytearray(length)
    _fill(link, memoryview(content))
    return bytes(content)


def _fill(link: socket.socket, room: memoryview) -> None:
    while len(room):
        got = link.recv_into(room)
        if not got:
            raise EOFError
        room = room[got:]
