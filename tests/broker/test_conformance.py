"""Both supported brokers do what fedtier needs, and the checks notice one that does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedtier.broker import BrokerProcess, BrokerSettings, conformance
from fedtier.broker.conformance import CHECKS, NotConformant, Target
from fedtier.limits import PART_BYTES_MAX


@pytest.fixture(scope="module", params=["embedded", "mosquitto"])
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrokerProcess]:
    if request.param == "mosquitto":
        request.getfixturevalue("mosquitto_binary")
    settings = BrokerSettings(kind=request.param)
    with BrokerProcess.start(settings, tmp_path_factory.mktemp("broker")) as process:
        yield process


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_broker_does_what_fedtier_needs(broker, check):
    check(Target(url=broker.url, part_bytes=broker.settings.part_bytes))


@pytest.mark.parametrize("kind", ["embedded", "mosquitto"])
def test_broker_carries_the_largest_parts_a_federation_may_ask_for(kind, request, tmp_path: Path):
    if kind == "mosquitto":
        request.getfixturevalue("mosquitto_binary")
    settings = BrokerSettings(kind=kind, part_bytes=PART_BYTES_MAX)
    with BrokerProcess.start(settings, tmp_path) as process:
        target = Target(url=process.url, part_bytes=PART_BYTES_MAX)
        conformance.check_delivery_both_ways(target)


def test_examination_reports_a_broker_that_takes_no_large_parts(mosquitto):
    target = Target(url=mosquitto.url, part_bytes=2 * mosquitto.settings.part_bytes, wait_s=1.0)
    findings = list(conformance.examine(target, [conformance.check_delivery_both_ways]))
    assert findings[0].name == "delivery_both_ways"
    assert "69632" in findings[0].fault  # the limit: 64 KiB and 4 KiB for headers


def test_examination_of_nobody_ends_with_a_sentence(free_port):
    target = Target(url=f"mqtt://127.0.0.1:{free_port}", wait_s=0.5)
    with pytest.raises(NotConformant, match="cannot reach"):
        conformance.check_qos_0(target)
