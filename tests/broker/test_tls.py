"""TLS with client certificates: the certificate's name is the user name."""

from __future__ import annotations

import pytest

from fedtier.broker import BrokerProcess, BrokerSettings
from fedtier.ids import FederationId, NodeId
from fedtier.render.broker_files import ListenerTls, acl_file
from fedtier.transport.base import Credentials


@pytest.fixture
def broker(certify, mosquitto_binary, tmp_path):
    ca, certificate, key = certify("broker")
    settings = BrokerSettings(
        kind="mosquitto",
        acl=acl_file(federation=FederationId("f"), cells=[NodeId("gw1")]),
        tls=ListenerTls(ca_file=str(ca), certificate_file=str(certificate), key_file=str(key)),
    )
    with BrokerProcess.start(settings, tmp_path / "tls") as process:
        yield process


def _credentials(certify, name: str) -> Credentials:
    ca, certificate, key = certify(name)
    return Credentials(ca_file=ca, certificate_file=certificate, key_file=key)


def test_name_of_the_certificate_is_the_user_name(broker, certify, connect, eventually):
    assert broker.url.startswith("mqtts://")
    _, inbox = connect(
        broker.url, "gw1", "fedtier/v1/f/gw1/+/update/+", credentials=_credentials(certify, "gw1")
    )
    device, _ = connect(broker.url, "d1", credentials=_credentials(certify, "d1"))
    device.publish("fedtier/v1/f/gw1/d2/update/0", b"forged", qos=1, retain=False)
    device.publish("fedtier/v1/f/gw1/d1/update/0", bytes(60_000), qos=1, retain=False)
    eventually(lambda: inbox.messages, "the honest update arrives")
    assert inbox.payloads("fedtier/v1/f/gw1/d2/update/0") == []
    assert device.traffic().bytes_sent > 60_000


def test_client_without_a_certificate_is_kept_out(broker, certify, connect, eventually):
    ca, _, _ = certify("nobody")
    stranger, inbox = connect(broker.url, "d1", wait=False, credentials=Credentials(ca_file=ca))
    eventually(lambda: stranger.trouble is not None, "it is refused")
    assert inbox.events == []


# paho leaves the socket of a failed handshake to the garbage collector, which says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_broker_whose_authority_is_unknown_is_not_trusted(broker, connect, eventually):
    suspicious, inbox = connect(broker.url, "d1", wait=False)
    eventually(lambda: suspicious.trouble is not None, "the handshake fails")
    assert "certificate" in suspicious.trouble
    suspicious.close()
    assert inbox.events == []
