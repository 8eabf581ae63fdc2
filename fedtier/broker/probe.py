"""Whether somebody answers MQTT 5 at an address: one CONNECT by hand, one CONNACK.

Any CONNACK will do, also one that refuses: what counts is that a broker is awake. A broker with
TLS counts as awake when it answers the handshake, whatever it then thinks of our certificate.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import ssl

from fedtier.transport.address import Address

_CONNACK = 0x20
_DISCONNECT = b"\xe0\x00"


def speaks_mqtt(address: Address, *, wait_s: float = 1.0) -> bool:
    """Try once.

    Args:
        address: Where to knock.
        wait_s: How long each step may take, in seconds.
    """
    try:
        with socket.create_connection((address.host, address.port), timeout=wait_s) as plain:
            if not address.tls:
                return _greet(plain)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # nothing is sent or believed, only counted
            with context.wrap_socket(plain) as tls:
                with contextlib.suppress(ssl.SSLError, ConnectionError):
                    _greet(tls)
                return True
    except OSError:
        return False


def _greet(sock: socket.socket) -> bool:
    sock.sendall(_connect_packet(f"fedtier-probe-{secrets.token_hex(6)}"))
    awake = sock.recv(1) == bytes([_CONNACK])
    with contextlib.suppress(OSError):
        sock.sendall(_DISCONNECT)
    return awake


def _connect_packet(client_id: str) -> bytes:
    # MQTT 5.0, 3.1: protocol name and version, clean start, keep-alive 10 s, no properties.
    name = client_id.encode()
    body = b"\x00\x04MQTT\x05\x02\x00\x0a\x00" + len(name).to_bytes(2, "big") + name
    assert len(body) < 128, len(body)
    return bytes([0x10, len(body)]) + body
