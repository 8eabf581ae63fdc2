"""Brokers, ports, clients and patience for every test."""

from __future__ import annotations

import functools
import logging
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

from fedtier.broker import BrokerProcess, BrokerSettings
from fedtier.broker import ports as broker_ports
from fedtier.broker.process import find_mosquitto
from fedtier.data import fashion
from fedtier.errors import ConfigError
from fedtier.transport.base import Trouble
from fedtier.transport.mqtt import MqttTransport

DEADLINE_S = 30.0

# The same examples on every run, however slow the machine.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")

MEMORY_DISK = Path("/dev/shm")
MEMORY_DISK_BYTES_MIN = 2**30


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' files in memory, where there is room and programs may run from it.

    Nodes wait for the disk at every durable point, which is most of the time that many tests take,
    and no test can tell: none cuts the power. ``TMPDIR`` chooses another place.
    """
    if "TMPDIR" in os.environ or not os.access(MEMORY_DISK, os.W_OK):
        return
    found = os.statvfs(MEMORY_DISK)
    if found.f_bavail * found.f_frsize >= MEMORY_DISK_BYTES_MIN and not found.f_flag & os.ST_NOEXEC:
        tempfile.tempdir = os.environ["TMPDIR"] = str(MEMORY_DISK)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory in which sockets have short names: the kernel takes no long ones."""
    with tempfile.TemporaryDirectory(prefix="fedtier-") as directory:
        yield Path(directory)


@pytest.fixture(autouse=True)
def _logs_go_where_they_went_before() -> Iterator[None]:
    """A node that runs inside a test's process sets up its log, on a stream of that test alone."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait for a condition, with a deadline; the only place where a test may let time pass."""

    def wait(condition: Callable[[], object], what: str, *, deadline_s: float = DEADLINE_S) -> None:
        give_up_s = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < give_up_s, f"within {deadline_s:g} s: {what}"
            time.sleep(0.01)

    return wait


@pytest.fixture
def free_port() -> int:
    return broker_ports.free_port()


@pytest.fixture(scope="session")
def mosquitto_binary() -> str:
    try:
        return find_mosquitto()
    except ConfigError:
        _do_without("mosquitto", "this test needs mosquitto: apt-get install -y mosquitto")


@pytest.fixture(scope="session")
def openssl_binary() -> str:
    found = shutil.which("openssl")
    if found is None:
        _do_without("openssl", "this test needs openssl: apt-get install -y openssl")
    return found


@pytest.fixture(scope="session")
def fashion_mnist_images() -> Path:
    directory = Path(fashion.DIRECTORY)
    if not directory.is_dir():
        _do_without("fashion-mnist", f"this test needs the images: {fashion.INSTALL}")
    return directory


def _do_without(what: str, sentence: str) -> NoReturn:
    """Skip, unless the one who runs the tests says that this must be there."""
    if what in os.environ.get("FEDTIER_REQUIRE", "").split():
        pytest.fail(f"{sentence} (FEDTIER_REQUIRE names it)")
    pytest.skip(sentence)


@pytest.fixture
def mosquitto(mosquitto_binary: str, tmp_path: Path) -> Iterator[BrokerProcess]:
    settings = BrokerSettings(kind="mosquitto", sys_interval_s=1)
    with BrokerProcess.start(settings, tmp_path / "mosquitto") as broker:
        yield broker


@pytest.fixture
def embedded_broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    pytest.importorskip("iotcore", reason="this test needs the extra: pip install -e '.[embedded]'")
    with BrokerProcess.start(BrokerSettings(kind="embedded"), tmp_path / "embedded") as broker:
        yield broker


@pytest.fixture(params=["embedded", "mosquitto"])
def any_broker(request: pytest.FixtureRequest) -> BrokerProcess:
    broker: BrokerProcess = request.getfixturevalue(
        "mosquitto" if request.param == "mosquitto" else "embedded_broker"
    )
    return broker


@pytest.fixture(scope="session")
def certify(
    openssl_binary: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, Path, Path]]:
    """A call makes the certificate and the key of one name, and gives those and the authority's."""
    home = tmp_path_factory.mktemp("pki")

    def openssl(*arguments: str) -> None:
        subprocess.run([openssl_binary, *arguments], cwd=home, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test ca")

    @functools.cache
    def make(name: str) -> tuple[Path, Path, Path]:
        (home / f"{name}.ext").write_text("subjectAltName = IP:127.0.0.1\n")
        openssl(
            "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"
        )
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
            "-CAcreateserial", "-out", f"{name}.crt", "-extfile", f"{name}.ext",
        )  # fmt: skip
        return home / "ca.crt", home / f"{name}.crt", home / f"{name}.key"

    return make


@dataclass
class Recorder:
    """An inbox that keeps what it is told."""

    events: list[str] = field(default_factory=list)
    messages: list[tuple[str, bytes, bool]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    refusals: list[tuple[str, str]] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)

    def connected(self) -> None:
        self._event("connected")

    def not_connected(self, trouble: Trouble) -> None:
        self.troubles.append(trouble)

    def disconnected(self, reason: str, *, taken_over: bool) -> None:
        self.reasons.append(reason)
        self._event("taken over" if taken_over else "disconnected")

    def message(self, topic: str, payload: bytes, retained: bool) -> None:
        self.messages.append((topic, payload, retained))
        self._event("message")

    def refused(self, topic: str, reason: str) -> None:
        self.refusals.append((topic, reason))
        self._event("refused")

    def failed(self, error: BaseException) -> None:
        self.failures.append(error)
        self._event("failed")

    def payloads(self, topic: str) -> list[bytes]:
        return [payload for its_topic, payload, _ in list(self.messages) if its_topic == topic]

    def _event(self, name: str) -> None:
        self.threads.add(threading.current_thread().name)
        self.events.append(name)


@pytest.fixture
def recorder() -> Callable[[], Recorder]:
    return Recorder


@pytest.fixture
def connect(eventually) -> Iterator[Callable[..., tuple[MqttTransport, Recorder]]]:
    """Make and start a transport with a recorder; by default wait until it is connected."""
    made: list[MqttTransport] = []

    def make(url, client_id, *filters, wait=True, qos=1, **options):
        inbox = Recorder()
        subscriptions = [(topic_filter, qos) for topic_filter in filters]
        transport = MqttTransport(url, client_id, subscriptions, inbox, **options)
        made.append(transport)
        transport.start()
        if wait:
            eventually(lambda: "connected" in inbox.events, f"{client_id} connects")
        return transport, inbox

    yield make
    for transport in made:
        transport.close()
