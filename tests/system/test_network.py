"""What a run does to the network, and a bad network to a run."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from counting_proxy import CountingProxy
from small_federation import IDENTITY, write_examples
from testbed import Testbed, wait_until

from fedtier.transport.mqtt import MqttTransport
from fedtier.wire.topics import ROOT

SYS = "$SYS/broker"
STAR = {"tree": {"cloud": ["a", "b", "c"]}, "links": [{"codec": "qsgd", "levels": 7}], "tau": (2,)}


def _sys_value(inbox: object, name: str) -> int:
    values = inbox.payloads(f"{SYS}/{name}")
    return int(values[-1]) if values else -1


def test_bytes_of_the_report_are_those_on_the_wire_and_in_the_brokers_own_count(testbed, connect):
    bed = testbed(**STAR, rounds=10, sys_interval_s=1)
    port = bed.brokers["cloud"].port
    with CountingProxy(port) as children, CountingProxy(port) as parent:
        for node in bed.topology:  # the same broker, by another door
            file = bed.file(node.id)
            door = parent if node.is_cloud else children
            text = file.read_text(encoding="utf-8")
            file.write_text(text.replace(bed.urls["cloud"], door.url), encoding="utf-8")
        bed.start_fleet()
        link = bed.run()["links"][0]
        # The report is closed with the last updates; what follows them is not in it.
        assert link["bytes_up"] == pytest.approx(children.bytes_up, rel=0.02)
        assert link["bytes_down"] == pytest.approx(children.bytes_down, rel=0.02)
        _, inbox = connect(
            f"mqtt://127.0.0.1:{port}", "reader", f"{SYS}/bytes/received", f"{SYS}/bytes/sent"
        )
        up = children.bytes_up + parent.bytes_up
        down = children.bytes_down + parent.bytes_down
        wait_until(
            lambda: (
                _sys_value(inbox, "bytes/received") == pytest.approx(up, rel=0.02)
                and _sys_value(inbox, "bytes/sent") == pytest.approx(down, rel=0.02)
            ),
            f"the broker counts {up} bytes received and {down} sent",
        )
        for program in bed.nodes.values():
            program.kill()


def test_messages_that_a_broker_drops_in_silence_are_sent_again(testbed, connect, digest_alone):
    # 25 parts at once, and room for 4 in flight and 6 waiting: the broker acknowledges all of them
    # to the sender and throws the rest away.
    wanted = {**STAR, "links": [IDENTITY], "tau": (1,), "rounds": 2}
    bed = testbed(
        **wanted, part_bytes=4096, sys_interval_s=1,
        options={"max_queued_messages": 6, "max_queued_bytes": 0},
    )  # fmt: skip
    bed.start_fleet()
    assert bed.run()["model_digest"] == digest_alone(**wanted)
    dropped = "publish/messages/dropped"
    _, inbox = connect(bed.urls["cloud"], "reader", f"{SYS}/{dropped}")
    # How many that is hangs on how quickly the readers read.
    wait_until(lambda: _sys_value(inbox, dropped) > 0, "the broker says that it dropped some")
    for node, program in bed.nodes.items():
        if node != "cloud":
            assert program.log.count("disconnected") == 0, program.log


class Stranger:
    """Listens to a broker, and sends everything back mangled or under another name."""

    def __init__(self, transport: MqttTransport, inbox: Any) -> None:
        self._transport, self._inbox = transport, inbox
        self._mine: set[bytes] = set()
        self._read = 0
        self.heard: dict[str, bytes] = {}
        self.sent = 0

    def mangle(self) -> None:
        """One more of each kind for every topic heard so far; waits until the broker has them."""
        fresh = self._inbox.messages[self._read :]
        self._read += len(fresh)
        self.heard |= {t: p for t, p, _ in fresh if p and p not in self._mine}
        for topic, payload in self.heard.items():
            for garbage in (secrets.token_bytes(40), payload[: len(payload) // 2]):
                self._publish(topic, garbage)
            for member in ("w-0", "e-0", "west"):
                if f"/{member}/" in topic:
                    self._publish(topic.replace(f"/{member}/", "/nobody/"), payload)
        wait_until(lambda: self._transport.queued_bytes == 0, "the broker has the garbage")

    def _publish(self, topic: str, payload: bytes) -> None:
        self._mine.add(payload)
        self._transport.publish(topic, payload, qos=1, retain=False)
        self.sent += 1


def test_a_stranger_who_publishes_garbage_everywhere_changes_nothing(
    testbed, connect, digest_alone
):
    wanted = {"rounds": 4, "tau": (8, 2)}
    bed = testbed(**wanted)
    bed.start_fleet()
    strangers = [Stranger(*connect(url, "stranger", f"{ROOT}/#")) for url in bed.urls.values()]
    bed.start_cloud("--out", bed.directory / "out")
    while bed.nodes["cloud"].running and not bed._dead():
        for stranger in strangers:
            stranger.mangle()
    assert bed.finished(bed.directory / "out")["model_digest"] == digest_alone(**wanted)
    heard = {topic.split("/", 4)[4] for stranger in strangers for topic in stranger.heard}
    assert {"update/0", "head", "model/0", "presence"} <= {t.split("/", 1)[-1] for t in heard}
    for node, program in bed.nodes.items():
        # The first few kinds are told one by one, the rest at the 1st, 10th, 100th time.
        lines = program.log.splitlines()
        assert len(lines) < 120, f"{node} wrote {len(lines)} lines"
    assert sum(stranger.sent for stranger in strangers) > 1000
    assert "garbage" in bed.nodes["west"].log


def test_a_model_of_six_megabytes_goes_through_brokers_that_take_128_kib(
    big_artefact, mosquitto_binary, tmp_path, write_wide_federation
):
    file = write_wide_federation(big_artefact)
    with Testbed(tmp_path, file, options={"max_packet_size": 128 * 1024}) as bed:
        bed.start_brokers()
        bed.start_fleet()
        report = bed.run()
        from reference import train_in_one_process

        assert report["model_digest"] == train_in_one_process(file.read_text(encoding="utf-8"))
    dimension = 1_600_000
    assert [link["bytes_up"] > 4 * dimension for link in report["links"]] == [True, False, True]
    assert all(link["lost"] == link["late"] == 0 for link in report["links"])


@pytest.fixture
def write_wide_federation(tmp_path: Path) -> Callable[[Path], Path]:
    def write(artefact: Path) -> Path:
        from small_federation import Wanted

        for device in ("a", "b", "held-out"):
            write_examples(tmp_path / "data", device, shape=(64,))
        wanted = Wanted(
            tree={"cloud": ["region"], "region": ["home"], "home": ["a", "b"]},
            links=[IDENTITY, {"codec": "qsgd", "levels": 7, "bucket": 128}, IDENTITY],
            tau=(1, 1, 1), rounds=1, part_bytes=120 * 1024,
        )  # fmt: skip
        file = tmp_path / "federation.toml"
        file.write_text(
            wanted.text(artefact=str(artefact), data=tmp_path / "data"), encoding="utf-8"
        )
        return file

    return write
