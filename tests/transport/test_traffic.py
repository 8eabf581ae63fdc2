"""The bytes a client reports are the bytes the broker saw."""

from __future__ import annotations

import socket

from fedtier.transport import traffic
from fedtier.transport.base import Traffic
from fedtier.transport.packet_size import publish_packet_bytes
from fedtier.transport.traffic import TrafficMeter, tcp_counters

PART = bytes(60_000)


def test_sum_over_all_clients_agrees_with_the_brokers_own_count(mosquitto, connect, eventually):
    monitor, sys_inbox = connect(
        mosquitto.url, "monitor", "$SYS/broker/bytes/sent", "$SYS/broker/bytes/received"
    )
    parent, up = connect(mosquitto.url, "parent", "up/+")
    children = [connect(mosquitto.url, f"d{number}", "down") for number in range(4)]
    gone, last = connect(mosquitto.url, "gone", "down")  # a connection that ended counts as well
    for _ in range(10):
        parent.publish("down", PART, qos=1, retain=False)
        for number, (child, _) in enumerate(children):
            child.publish(f"up/{number}", PART, qos=1, retain=False)
    # What it had not read when it closes, the broker would count and nobody receive.
    eventually(lambda: len(last.messages) == 10, "0.6 MB arrive at the one that leaves")
    gone.close(farewell=("up/gone", PART))
    eventually(lambda: len(up.messages) == 41, "2.4 MB arrive at the parent")
    for _, inbox in children:
        eventually(lambda inbox=inbox: len(inbox.messages) == 10, "0.6 MB arrive at each child")

    transports = [monitor, parent, gone, *(child for child, _ in children)]

    def agree() -> bool:
        counts = [transport.traffic() for transport in transports]
        sent = sum(count.bytes_sent for count in counts)
        received = sum(count.bytes_received for count in counts)
        assert not any(count.estimated for count in counts)
        said = {topic: int(payload) for topic, payload, _ in list(sys_inbox.messages)}
        return (
            sent > 2_400_000
            and received > 5_000_000
            and abs(said.get("$SYS/broker/bytes/received", 0) - sent) < 0.02 * sent
            and abs(said.get("$SYS/broker/bytes/sent", 0) - received) < 0.02 * received
        )

    eventually(agree, "client and broker agree within 2 %, the bound of the report's bytes")


def test_counters_are_the_kernels_byte_for_byte():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        a = socket.create_connection(listener.getsockname())
        b, _ = listener.accept()
        with a, b:
            a.sendall(bytes(1234))
            b.sendall(bytes(77))
            a.recv(77, socket.MSG_WAITALL)
            received = b""
            while len(received) < 1234:
                received += b.recv(5000)
            sent_by_a, received_by_a = tcp_counters(a)
            assert received_by_a == 77
            assert tcp_counters(b)[1] == 1234
            assert sent_by_a in (1234, 1235)  # the kernel may count the SYN as a byte


def test_without_kernel_counters_publishes_are_added_up_and_marked_as_an_estimate(
    mosquitto, connect, eventually, monkeypatch
):
    monkeypatch.setattr(traffic, "_TCP_INFO", None)
    a, inbox = connect(mosquitto.url, "a", "t")
    a.publish("t", PART, qos=1, retain=False)
    eventually(lambda: inbox.messages, "it arrives")
    packet_bytes = publish_packet_bytes("t", len(PART), qos=1)
    expected = Traffic(bytes_sent=packet_bytes, bytes_received=packet_bytes, estimated=True)
    assert a.traffic() == expected
    a.close()
    assert a.traffic() == expected


def test_connections_add_up_and_a_dead_socket_counts_nothing():
    meter = TrafficMeter()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(2):
            with socket.create_connection(listener.getsockname()) as sock:
                peer, _ = listener.accept()
                with peer:
                    peer.sendall(bytes(100))
                    sock.recv(100, socket.MSG_WAITALL)
                    meter.opened(sock)
                    meter.closing()
    assert meter.total().bytes_received == 200
