"""The rendered ACL on a real mosquitto: judged by what arrives, since refusals may look granted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedtier.broker import BrokerProcess, BrokerSettings
from fedtier.broker.conformance import Client, Received, Target, client
from fedtier.ids import FederationId, NodeId
from fedtier.render.broker_files import acl_file, password_file
from fedtier.transport.base import Credentials, Will

BASE = "fedtier/v1/f"
USERS = ("gw1", "cloud", "d1", "d2", "operator")


@pytest.fixture(scope="module")
def broker(
    mosquitto_binary: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrokerProcess]:
    directory = tmp_path_factory.mktemp("acl")
    passwords = directory / "passwords"
    passwords.write_text(
        password_file({user: (f"pw-{user}", user.encode().ljust(12)) for user in USERS})
    )
    passwords.chmod(0o600)
    for user in USERS:
        (directory / f"{user}.password").write_text(f"pw-{user}\n")
    cells = [NodeId("gw1"), NodeId("cloud")]  # one broker that two cells share
    settings = BrokerSettings(
        kind="mosquitto",
        acl=acl_file(federation=FederationId("f"), cells=cells, cloud=NodeId("cloud")),
        password_file=passwords,
    )
    with BrokerProcess.start(settings, directory) as process:
        yield process


@pytest.fixture
def join(broker):
    """A client under one user's name, with filters below the federation's root."""
    directory: Path = broker.settings.password_file.parent

    def make(user: str, *filters: str, name: str = "", will: Will | None = None):
        credentials = Credentials(username=user, password_file=directory / f"{user}.password")
        target = Target(url=broker.url, credentials=credentials, nonce="x")
        return _Member(target, user, filters, name, will)

    return make


class _Member:
    """A client that is connected without the marker that ``conformance.client`` waits for."""

    def __init__(self, target, user, filters, name, will):
        full = [f if f.startswith(("#", "$")) else f"{BASE}/{f}" for f in filters]
        self.client = Client(target, name or user, *full, will=will)

    def __enter__(self):
        self.client.transport.start()
        self.client.wait_connected()
        return self

    def __exit__(self, *_):
        self.client.transport.close()

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.client.publish(f"{BASE}/{topic}", payload, retain=retain)

    def drained(self, eventually) -> None:
        """Everything said has been judged: mosquitto acknowledges after it has checked."""
        eventually(lambda: self.client.transport.queued_bytes == 0, "the broker has judged it")

    @property
    def heard(self) -> list[bytes]:
        return [message.payload for message in self.client.received]

    def wait(self, payload: bytes) -> Received:
        return self.client.wait_for_payload(payload, f"{payload!r} did not arrive")


PARENT_FILTERS = ("gw1/+/presence", "gw1/+/update/+", "gw1/+/want", "gw1/+/metrics")
CHILD_FILTERS = ("gw1/all/head", "gw1/all/presence", "gw1/all/model/+", "gw1/all/artefact/+")


def test_every_message_of_the_protocol_passes(join):
    own = ("gw1/d1/model/+", "gw1/d1/artefact/+", "gw1/d1/ack")
    with join("gw1", *PARENT_FILTERS) as parent, join("d1", *CHILD_FILTERS, *own) as child:
        for topic in ("d1/presence", "d1/update/0", "d1/want", "d1/metrics"):
            child.say(f"gw1/{topic}", topic.encode())
            parent.wait(topic.encode())
        for topic in (
            "all/head", "all/presence", "all/model/3", "all/artefact/0",
            "d1/ack", "d1/model/0", "d1/artefact/7",
        ):  # fmt: skip
            parent.say(f"gw1/{topic}", topic.encode())
            child.wait(topic.encode())


def test_operator_reads_the_federation_and_commands_the_cloud_alone(join, eventually):
    with (
        join("operator", "#") as operator,
        join("cloud", "operator/cloud/#", "gw1/+/presence", "cloud/+/presence") as cloud,
        join("d1", *CHILD_FILTERS) as child,
    ):
        child.say("gw1/d1/presence", b"seen")
        operator.wait(b"seen")
        operator.say("gw1/all/head", b"forged")
        operator.say("cloud/all/head", b"forged")
        operator.drained(eventually)
        operator.say("operator/cloud/pause", b"pause")
        cloud.wait(b"pause")
        child.say("operator/cloud/pause", b"usurped")
        child.drained(eventually)
        child.say("cloud/d1/presence", b"last")  # under its own name: the member list refuses it
        cloud.wait(b"last")
        assert b"usurped" not in cloud.heard
        assert b"forged" not in child.heard + operator.heard


@pytest.mark.parametrize(
    "topic",
    [
        "gw1/d1/presence", "gw1/d1/update/0", "gw1/d1/want",  # in another's name
        "gw1/all/head", "gw1/all/presence", "gw1/all/model/0",  # as the parent
        "gw1/d1/ack", "gw1/d1/model/0", "gw1/d2/ack",  # an answer, even to itself
        "cloud/gw1/update/0", "gw9/d2/presence",  # another cell, in the gateway's name or its own
        "gw1/d2/garbage", "gw1/d2/update/0/deep", "gw1/d2", "other",  # planted, retained
    ],
)  # fmt: skip
def test_forgery_by_a_member_arrives_nowhere(topic, join, eventually):
    everything = "#"
    with join("operator", everything) as operator, join("d2") as forger:
        forger.say(topic, b"forged", retain=True)
        forger.drained(eventually)
        forger.say("gw1/d2/presence", b"honest")
        operator.wait(b"honest")
        assert b"forged" not in operator.heard
    with join("operator", everything, name="late") as late, join("d2") as witness:
        witness.say("gw1/d2/presence", b"again")
        late.wait(b"again")
        assert b"forged" not in late.heard


def test_will_to_the_parents_topic_never_arrives(join):
    will = Will(topic=f"{BASE}/gw1/all/head", payload=b"forged")
    with join("operator", "#") as operator:
        with join("d2", will=will) as forger:
            forger.client.transport.abort()
        with join("d2", will=Will(topic=f"{BASE}/gw1/d2/presence", payload=b"lost")) as honest:
            honest.client.transport.abort()
        operator.wait(b"lost")
        assert b"forged" not in operator.heard


def test_subscriber_to_everything_hears_only_what_is_for_all_and_for_itself(join, eventually):
    with join("gw1") as parent, join("d1") as other, join("d2", "#") as spy:
        other.say("gw1/d1/update/0", b"private")
        other.say("gw1/d1/presence", b"private")
        other.drained(eventually)
        parent.say("gw1/d1/model/0", b"private")
        parent.say("gw1/d1/ack", b"private")
        parent.say("gw1/d2/ack", b"own")
        parent.say("gw1/all/head", b"head")
        spy.wait(b"own")
        spy.wait(b"head")
        assert b"private" not in spy.heard


def test_wrong_password_or_no_name_is_refused(broker, tmp_path, eventually):
    wrong = tmp_path / "wrong"
    wrong.write_text("pw-d2\n")
    for credentials in (Credentials(), Credentials(username="d1", password_file=wrong)):
        target = Target(url=broker.url, credentials=credentials, wait_s=0.5)
        with pytest.raises(Exception, match="refuses"), client(target, "x"):
            raise AssertionError("it was let in")
