"""A broker as a child process: rendered, started, awaited, stopped, and never left behind."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from fedtier.broker.ports import check_port, free_port
from fedtier.broker.probe import speaks_mqtt
from fedtier.broker.settings import BrokerSettings
from fedtier.errors import ConfigError, LinkError
from fedtier.render.broker_files import iotcore_toml, mosquitto_conf
from fedtier.storage.durable import storage_error
from fedtier.transport.address import Address

START_S = 20.0  # a loaded Pi needs several; a broker that fails is noticed at once
STOP_S = 5.0
LOG_NAME = "broker.log"
_POLL_S = 0.02
_ATTEMPTS = 5  # with a port of our own choosing
LAUNCH = Path(__file__).with_name("launch.py")
_SBIN = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")  # not on every user's PATH
_PORT_TAKEN = ("AddrInUse", "in use")


class BrokerProcess:
    """A running broker; start one by ``BrokerProcess.start``, and use it as a context.

    On Linux it is killed by the kernel when the process that started it ends, even by SIGKILL.
    """

    def __init__(
        self, settings: BrokerSettings, address: Address, log_path: Path, process: _Popen
    ) -> None:
        self.settings = settings
        self.address = address
        self.log_path = log_path
        self._process = process

    @classmethod
    def start(
        cls, settings: BrokerSettings, directory: Path, *, deadline_s: float = START_S
    ) -> Self:
        """Render the files into a directory, start the broker, and wait until it answers MQTT.

        Args:
            settings: The broker; with port 0 a free port is chosen.
            directory: For its files and its log; made if missing.
            deadline_s: How long it may take to answer.

        Raises:
            ConfigError: If the port is taken, or the broker is not installed or refuses its files.
            StorageError: If the disk does not take its files.
            LinkError: If it runs but does not answer in time.
        """
        # The kernel ends the broker with the *thread* that started it.
        assert threading.current_thread() is threading.main_thread(), (
            "start brokers from the main thread, which lives as long as the process"
        )
        attempts = _ATTEMPTS if settings.port == 0 else 1
        for attempt in range(1, attempts + 1):
            port = settings.port or free_port(settings.host)
            if settings.port:
                check_port(settings.host, port)
            address = Address(host=settings.host, port=port, tls=settings.tls is not None)
            command = service_command(settings, port=port, directory=directory)
            log_path = directory / LOG_NAME
            broker = cls(settings, address, log_path, _launch(command, log_path))
            try:
                if broker._wait(deadline_s):
                    return broker
            except BaseException:
                broker.stop()
                raise
            if attempt == attempts or not broker._lost_its_port():
                raise ConfigError(
                    f"the {settings.kind} broker on port {port} ended with code "
                    f"{broker._process.returncode}: {broker.log_tail()} (log: {log_path})"
                )
        raise AssertionError("unreachable")

    @property
    def url(self) -> str:
        """What clients connect to."""
        return str(self.address)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.address.port

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """What it ended with, None while it runs; negative: the signal that killed it."""
        return self._process.poll()

    def stop(self, *, deadline_s: float = STOP_S) -> None:
        """End it by SIGTERM, then by SIGKILL; safe to call twice."""
        if self.alive:
            self._process.terminate()
            try:
                self._process.wait(deadline_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it by SIGKILL, as a power cut would."""
        self._process.kill()
        self._process.wait()

    def log_tail(self) -> str:
        """The last lines of its log, on one line."""
        lines = self.log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return " | ".join(lines[-8:]) or "it said nothing"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _wait(self, deadline_s: float) -> bool:
        """Until it answers (True) or ended (False)."""
        give_up_s = time.monotonic() + deadline_s
        while self.alive:
            if speaks_mqtt(self.address) and self.alive:
                return True
            if time.monotonic() > give_up_s:
                raise LinkError(
                    f"the {self.settings.kind} broker at {self.url} runs but did not answer within "
                    f"{deadline_s:g} s: {self.log_tail()} (log: {self.log_path})"
                )
            time.sleep(_POLL_S)
        return False

    def _lost_its_port(self) -> bool:
        return any(sign in self.log_tail() for sign in _PORT_TAKEN)


_Popen = subprocess.Popen[bytes]


def _launch(command: list[str], log_path: Path) -> _Popen:
    try:
        log_file = log_path.open("wb")
    except OSError as error:
        raise storage_error(log_path, "written", error) from error
    with log_file:
        return _Popen(
            [sys.executable, "-P", str(LAUNCH), str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C is for the starter, who stops us in order
        )


def service_command(settings: BrokerSettings, *, port: int, directory: Path) -> list[str]:
    """Write the broker's files and say what ``launch.py`` has to run.

    Raises:
        ConfigError: If the broker is not installed.
        StorageError: If the disk does not take the files.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return _written_files(settings, port=port, directory=directory)
    except OSError as error:
        raise storage_error(directory, "written", error) from error


def _written_files(settings: BrokerSettings, *, port: int, directory: Path) -> list[str]:
    if settings.kind == "embedded":
        check_embedded()
        toml_path = directory / "iotcore.toml"
        toml_path.write_text(
            iotcore_toml(
                host=settings.host,
                port=port,
                part_bytes=settings.part_bytes,
                children=settings.children,
            ),
            encoding="utf-8",
        )
        return ["embedded", str(toml_path)]
    program = find_mosquitto()
    acl_path = directory / "acl"
    if settings.acl is not None:
        _write_secret(acl_path, settings.acl)
    conf_path = directory / "mosquitto.conf"
    conf_path.write_text(
        mosquitto_conf(
            host=settings.host,
            port=port,
            part_bytes=settings.part_bytes,
            children=settings.children,
            allow_anonymous=settings.admits_anonymous,
            sys_interval_s=settings.sys_interval_s,
            # It keeps the user it is started by: a change of user undoes the order to die with
            # its starter, and would shut it out of a private directory.
            # Only root's mosquitto changes it, so nobody else's name matters.
            run_as="root",
            acl_file=None if settings.acl is None else str(acl_path),
            password_file=None if settings.password_file is None else str(settings.password_file),
            tls=settings.tls,
        ),
        encoding="utf-8",
    )
    return ["mosquitto", program, "-c", str(conf_path)]


def check_embedded() -> None:
    """See whether the embedded broker can be started.

    Raises:
        ConfigError: If it is not installed.
    """
    if importlib.util.find_spec("iotcore") is None:
        raise ConfigError(
            "the embedded broker is not installed. Install it with `pip install "
            "'fedtier[embedded]'`, or install mosquitto with `apt-get install -y mosquitto` "
            'and use kind = "mosquitto".'
        )


def find_mosquitto() -> str:
    """The path of the mosquitto binary.

    Raises:
        ConfigError: If it is not installed.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SBIN])
    program = shutil.which("mosquitto", path=path)
    if program is None:
        raise ConfigError(
            "mosquitto is not installed. Install it with `apt-get install -y mosquitto`, "
            'or use kind = "embedded" on one machine.'
        )
    return program


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text, encoding="utf-8")
