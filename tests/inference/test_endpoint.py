"""The address where applications ask: taken, left behind, too long, or somebody else's."""

from __future__ import annotations

import errno
import socket
import stat
import threading

import pytest

from edge_agent.inference.endpoint import connect, listen, listening
from fedtier.config.inference import endpoint_complaint, host_and_port, is_local_port
from fedtier.errors import ConfigError


def test_a_socket_is_for_user_and_group_alone(short_path):
    with listen(str(short_path / "s"), where="f", waiting=1), connect(str(short_path / "s")):
        assert stat.S_IMODE((short_path / "s").stat().st_mode) == 0o660


def test_what_a_killed_agent_left_is_taken_over_and_a_live_one_is_not(short_path):
    path = str(short_path / "s")
    listen(path, where="f", waiting=1).close()  # as after a kill: the file stays
    with listen(path, where="f", waiting=1), pytest.raises(ConfigError, match="another program"):
        listen(path, where="f", waiting=1, patience_s=0)


def test_with_many_connections_waiting_it_is_as_much_served_as_before(short_path):
    path = str(short_path / "s")
    with listen(path, where="f", waiting=0) as listener, connect(path) as first:
        with socket.socket(socket.AF_UNIX) as no_room:
            no_room.setblocking(False)
            assert no_room.connect_ex(path) == errno.EAGAIN
        with pytest.raises(ConfigError, match="another program"):
            listen(path, where="f", waiting=0, patience_s=0)
        first.sendall(b"x")
        with listener.accept()[0] as link:
            assert link.recv(1) == b"x", "it has lost nothing"


def test_whoever_serves_there_has_time_to_go(short_path, free_port):
    """A serving process whose agent was killed ends by itself, a little later."""
    for endpoint in (str(short_path / "s"), f"127.0.0.1:{free_port}"):
        old = listen(endpoint, where="f", waiting=1)
        threading.Timer(0.3, old.close).start()
        with listen(endpoint, where="f", waiting=1), connect(endpoint):
            pass


def test_at_the_end_only_the_own_socket_is_removed(short_path):
    path = short_path / "s"
    with listening(str(path), where="f", waiting=1):
        path.unlink()
        with listening(str(path), where="f", waiting=1):
            pass
        assert not path.exists()
        other = listen(str(path), where="f", waiting=1)
    with other, connect(str(path)):
        pass


def test_a_file_that_is_no_socket_is_never_removed(short_path):
    (short_path / "s").write_text("mine")
    with pytest.raises(ConfigError, match="a file that is no socket"):
        listen(str(short_path / "s"), where="f", waiting=1)
    assert (short_path / "s").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "said"), [("x" * 120, "has at most 107"), ("missing/s", "No such file")]
)
def test_a_path_that_cannot_be_is_refused_with_what_to_do(short_path, name, said):
    with pytest.raises(ConfigError, match=rf"f = .*{said}.*Give another endpoint"):
        listen(str(short_path / name), where="f", waiting=1)


def test_a_port_of_this_machine(free_port):
    endpoint = f"127.0.0.1:{free_port}"
    with listen(endpoint, where="f", waiting=1) as listener, connect(endpoint):
        assert listener.family == socket.AF_INET
        with pytest.raises(ConfigError, match="Address already in use"):
            listen(endpoint, where="f", waiting=1, patience_s=0)
    with pytest.raises(OSError, match="refused"):
        connect(endpoint)


@pytest.mark.parametrize("good", ["s", "/run/s", "./a:b", "localhost:1024", "[::1]:65535"])
def test_endpoints_that_can_be(good):
    assert endpoint_complaint(good) == ""
    assert is_local_port(good) == good.endswith(("1024", "65535"))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("", "names nothing"),
        ("0.0.0.0:7070", "the host is '0.0.0.0'"),
        (":7070", "the host is ''"),
        ("localhost:80", "1024 to 65535"),
        ("localhost:http", "the port is 'http'"),
        ("localhost:65536", "1024 to 65535"),
        ("localhost:", "the port is ''"),
    ],
)
def test_endpoints_that_cannot_be(bad, said):
    assert said in endpoint_complaint(bad)


def test_host_and_port_are_taken_apart():
    assert host_and_port("[::1]:7070") == ("::1", 7070)
    assert host_and_port("127.0.0.1:7070") == ("127.0.0.1", 7070)
