"""A link with a budget, between real processes: what the broker carries is never more.

Bytes are counted between the child and its broker, and held against the broker's own counters.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from counting_proxy import CountingProxy
from small_federation import Wanted, write_examples
from testbed import DIMENSION, Program, Testbed, wait_until

from fedtier.wire import costs

SYS = "$SYS/broker"
QSGD = {"codec": "qsgd", "levels": 7, "bucket": 128}
QSGD_BYTES = 13_200  # of one update's sections: 24,807 coordinates of 4 bits, and the norms
PART_BYTES = 8192
PAIR = {"tree": {"cloud": ["a", "b"]}, "tau": (2,), "part_bytes": PART_BYTES, "links": [QSGD]}
PRICES = costs.Prices.of(members=2, part_bytes=PART_BYTES, tls=False)
MODEL = costs.model_bytes(DIMENSION, PART_BYTES)
NEEDS = costs.Needs.of(PRICES, dimension=DIMENSION, payload_bytes=QSGD_BYTES, part_bytes=PART_BYTES)
ROUND = NEEDS.of_round(1)

# The agent as it is, on days of another length.
AGENT_WITH_DAYS_OF = (
    "import sys; from pathlib import Path; from fedtier.runtime import assembly;"
    "assembly.DAY_S = float(sys.argv[2]);"
    "from edge_agent.run import main; sys.exit(main(Path(sys.argv[1])))"
)


class Passed:
    """What passed a proxy: when, how much, and in which round by the heads that came down."""

    _ROUND = re.compile(rb'"path":"r(\d+)[^"]*"')

    def __init__(self) -> None:
        self.pieces: list[tuple[float, int, bool]] = []
        self.by_round: dict[int, int] = {}
        self._round = 0

    def __call__(self, data: bytes, up: bool) -> None:
        self.pieces.append((time.monotonic(), len(data), up))
        # The head that begins a round is still of the last one.
        self.by_round[self._round] = self.by_round.get(self._round, 0) + len(data)
        if not up:
            self._round = max([self._round, *map(int, self._ROUND.findall(data))])

    @property
    def total(self) -> int:
        return sum(count for _, count, _ in self.pieces)

    def most_within(self, window_s: float) -> int:
        """The most bytes of any window of so many seconds."""
        most = first = held = 0
        for at_s, count, _ in self.pieces:
            held += count
            while self.pieces[first][0] <= at_s - window_s:
                held -= self.pieces[first][1]
                first += 1
            most = max(most, held)
        return most


def _limit(bed: Testbed, node: str, url: str, **budget: float) -> None:
    """Have a node reach the broker at this address, within a budget."""
    file = bed.file(node)
    text = file.read_text(encoding="utf-8").replace(bed.urls["cloud"], url)
    lines = [f"{name} = {value}" for name, value in {**budget, "members": 2}.items()]
    table = "\n".join(["", "[budget]", *lines, ""]) if budget else ""
    file.write_text(text + table, encoding="utf-8")


def _start_with_days_of(bed: Testbed, node: str, seconds: float) -> None:
    command = [sys.executable, "-c", AGENT_WITH_DAYS_OF, str(bed.file(node)), str(seconds)]
    bed.nodes[node] = Program(command, bed.directory / "logs" / f"{node}.log")


def _check_brokers_counter(connect: Callable, url: str, passed: list[Passed]) -> None:
    """That all clients together were carried by the broker as they were counted here."""
    reader, inbox = connect(url, "reader", f"{SYS}/bytes/received", f"{SYS}/bytes/sent")

    def agrees() -> bool:
        said = [inbox.payloads(f"{SYS}/bytes/{way}") for way in ("received", "sent")]
        if not all(said):
            return False
        own = reader.traffic()
        counted = sum(one.total for one in passed) + own.bytes_sent + own.bytes_received
        return sum(int(values[-1]) for values in said) == pytest.approx(counted, rel=0.02)

    wait_until(agrees, "the broker's own counters agree within 2 %")


@pytest.fixture
def passed() -> Passed:
    return Passed()


def test_rounds_go_on_within_their_budget(testbed, connect, digest_alone, passed):
    wanted = {**PAIR, "links": [QSGD | {"budget_bytes_per_round": ROUND}], "rounds": 4}
    bed = testbed(**wanted, sys_interval_s=1)
    port, others = bed.brokers["cloud"].port, Passed()
    with CountingProxy(port, watch=passed) as child, CountingProxy(port, watch=others) as door:
        for node in ("b", "cloud"):
            _limit(bed, node, door.url)
        _limit(bed, "a", child.url)
        bed.start_fleet()
        report = bed.run()
        assert report["model_digest"] == digest_alone(**wanted)
        assert report["links"][0]["abstained"] == 0
        for program in bed.nodes.values():
            program.kill()
        _check_brokers_counter(connect, bed.urls["cloud"], [passed, others])
    assert set(passed.by_round) == {0, 1, 2, 3, 4}
    assert max(passed.by_round.values()) <= ROUND
    assert max(passed.by_round.values()) > MODEL  # and each carried a model


@pytest.mark.parametrize("least", [True, False])
def test_a_round_of_three_iterations_needs_what_is_demanded_and_not_much_less(
    testbed, passed, least
):
    budget = NEEDS.of_round(3) - (0 if least else NEEDS.iteration // 2)
    bed = testbed(
        tree={"cloud": ["west"], "west": ["a", "b"]}, tau=(1, 3), rounds=2, links=[QSGD, QSGD],
        part_bytes=PART_BYTES,
    )  # fmt: skip
    with CountingProxy(bed.brokers["west"].port, watch=passed) as child:
        file = bed.file("a")
        text = file.read_text(encoding="utf-8").replace(bed.urls["west"], child.url)
        file.write_text(f"{text}\n[budget]\nbytes_per_round = {budget}\nmembers = 2\n")
        bed.start_fleet()
        report = bed.run()
        for program in bed.nodes.values():
            program.kill()
    assert report["links"][0]["abstained"] == (0 if least else 2)
    assert max(passed.by_round.values()) <= budget


def test_who_cannot_have_the_model_in_a_round_says_so_and_spends_no_more(testbed, passed):
    budget = PRICES.least_of_round + 100
    assert budget < MODEL
    bed = testbed(**PAIR, rounds=4)
    with CountingProxy(bed.brokers["cloud"].port, watch=passed) as child:
        _limit(bed, "a", child.url, bytes_per_round=budget)
        bed.start_fleet()
        report = bed.run()
        for program in bed.nodes.values():
            program.kill()
    assert report["links"][0]["abstained"] == 4
    assert report["links"][0]["deltas"] == 4  # of the other
    assert f"budget_bytes_per_round = {budget}" in bed.nodes["cloud"].log
    assert max(passed.by_round.values()) <= budget


def test_a_model_comes_down_over_days_and_no_day_carries_more_than_its_budget(
    testbed, digest_alone, passed
):
    budget, day_s = 48_000, 3.0
    assert budget < MODEL / 2
    wanted = {**PAIR, "rounds": 1}
    bed = testbed(**wanted)
    with CountingProxy(bed.brokers["cloud"].port, watch=passed) as child:
        _limit(bed, "a", child.url, bytes_per_day=budget)
        bed.start("b")
        _start_with_days_of(bed, "a", day_s)
        report = bed.run()
        assert report["model_digest"] == digest_alone(**wanted)
        for program in bed.nodes.values():
            program.kill()
    log = bed.nodes["a"].log
    assert "waiting for the budget" in log
    assert "the budget allows traffic" in log
    assert "broker unreachable" not in log
    # The proxy's clock is not the child's: a message is seen here some milliseconds off.
    assert passed.most_within(day_s - 0.25) <= budget


def test_a_day_that_was_begun_before_a_power_cut_goes_on_after_it(testbed, passed):
    budget = 60_000
    bed = testbed(**PAIR, rounds=1)
    with CountingProxy(bed.brokers["cloud"].port, watch=passed) as child:
        _limit(bed, "a", child.url, bytes_per_day=budget)
        bed.start_fleet()
        bed.start_cloud("--out", bed.directory / "run")
        bed.wait_until(lambda: passed.total > budget / 2, "half of the day's budget is spent")
        for boots in range(2, 6):
            bed.restart("a")
            bed.wait_until(
                lambda n=boots: bed.nodes["a"].log.count("started  node") == n,
                "the device starts again",
            )
        bed.wait_until(
            lambda: "waiting for the budget" in bed.nodes["a"].log.rpartition("started  node")[2],
            "the last of them waits for the next day",
        )
        for program in bed.nodes.values():
            program.kill()
    assert passed.total <= budget


def test_sending_keeps_its_pace_and_its_share_of_airtime(testbed, digest_alone, passed):
    rate, share = 40_000.0, 0.25
    wanted = {**PAIR, "rounds": 1}
    bed = testbed(**wanted)
    with CountingProxy(bed.brokers["cloud"].port, watch=passed) as child:
        _limit(bed, "a", child.url, rate_bytes_per_s=rate, airtime_share_max=share)
        bed.start_fleet()
        assert bed.run()["model_digest"] == digest_alone(**wanted)
        for program in bed.nodes.values():
            program.kill()
    sent = [(at_s, count) for at_s, count, up in passed.pieces if up]
    burst = PRICES.part + 2048  # one message, and what is not paced: connecting and receipts
    for first, (start_s, _) in enumerate(sent):
        for last in range(first, len(sent)):
            within_s = sent[last][0] - start_s + 0.25  # seen here some milliseconds off
            went = sum(count for _, count in sent[first : last + 1])
            assert went <= rate * share * within_s + burst


def test_a_gateway_keeps_the_budget_of_its_link(testbed, digest_alone, passed):
    wanted = {
        "tree": {"cloud": ["west"], "west": ["w-0", "w-1"]}, "tau": (1, 2), "rounds": 2,
        "links": [QSGD, QSGD | {"budget_bytes_per_round": ROUND}], "part_bytes": PART_BYTES,
    }  # fmt: skip
    bed = testbed(**wanted)
    with CountingProxy(bed.brokers["cloud"].port, watch=passed) as child:
        file = bed.file("west")
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(bed.urls["cloud"], child.url), encoding="utf-8")
        bed.start_fleet()
        assert bed.run()["model_digest"] == digest_alone(**wanted)
        for program in bed.nodes.values():
            program.kill()
    assert MODEL < max(passed.by_round.values()) <= ROUND


def test_what_tls_adds_is_counted_too(testbed, passed):
    budget = 70_000
    bed = testbed(**PAIR, rounds=1, guard="certificates")
    with CountingProxy(bed.brokers["cloud"].port, watch=passed) as child:
        url = child.url.replace("mqtt:", "mqtts:")
        _limit(bed, "a", url, bytes_per_day=budget)
        bed.start_fleet()
        bed.start_cloud("--out", bed.directory / "run")
        bed.wait_until(
            lambda: "waiting for the budget" in bed.nodes["a"].log, "the day's budget is spent"
        )
        for program in bed.nodes.values():
            program.kill()
    assert budget / 2 < passed.total <= budget


def test_a_fiftieth_of_a_model_of_six_megabytes_is_never_overrun(
    big_artefact, mosquitto_binary, tmp_path, connect
):
    """By the broker's own counter: of its round for one child, of its day for another."""
    budget, part_bytes = 4 * 1_602_697 // 50, 16_384
    for device in ("a", "b", "c", "held-out"):
        write_examples(tmp_path / "data", device, shape=(64,))
    wanted = Wanted(
        tree={"cloud": ["a", "b", "c"]}, links=[QSGD], tau=(1,), rounds=2, part_bytes=part_bytes,
        plan="quorum = 2\ndeadline_s = 5.0",
    )  # fmt: skip
    file = tmp_path / "federation.toml"
    file.write_text(wanted.text(artefact=str(big_artefact), data=tmp_path / "data"))
    with Testbed(tmp_path, file, sys_interval_s=1) as bed, ExitStack() as stack:
        bed.start_brokers()
        port = bed.brokers["cloud"].port
        passed = {node: Passed() for node in ("a", "b", "others")}
        doors = {
            node: stack.enter_context(CountingProxy(port, watch=watch))
            for node, watch in passed.items()
        }
        _limit(bed, "a", doors["a"].url, bytes_per_round=budget)
        _limit(bed, "b", doors["b"].url, bytes_per_day=budget)
        for node in ("c", "cloud"):
            _limit(bed, node, doors["others"].url)
        bed.start_fleet()
        report = bed.run()
        for program in bed.nodes.values():
            program.kill()
        _check_brokers_counter(connect, bed.urls["cloud"], list(passed.values()))
    assert report["links"][0]["deltas"] == 2  # of the one that has no budget
    assert "budget_bytes_per_round" in bed.nodes["a"].log
    assert "waiting for the budget" in bed.nodes["b"].log
    assert 0 < max(passed["a"].by_round.values()) <= budget
    assert budget / 2 < passed["b"].total <= budget


def test_a_budget_of_a_fiftieth_of_the_model_is_refused_with_the_least_that_will_do(
    write_federation, tmp_path
):
    budget = 4 * DIMENSION // 50
    for name in ("budget_bytes_per_round", "budget_bytes_per_day"):
        file = write_federation(**PAIR | {"links": [QSGD | {name: budget}]})
        check = Program.fedtier("config", "check", file, log_path=tmp_path / f"{name}.log")
        assert check.exit_code() == 78
        least = int(re.search(rf"{name} = {budget}.* Use (\d+) or more", check.log)[1])
        assert least > budget


def test_a_round_that_does_not_fit_is_refused_with_the_least_that_will_do(
    write_federation, tmp_path
):
    link = QSGD | {"budget_bytes_per_round": MODEL}
    file = write_federation(**PAIR | {"links": [link]})
    check = Program.fedtier("config", "check", file, log_path=tmp_path / "check.log")
    assert check.exit_code() == 78
    least = int(re.search(r"Use (\d+) or more", check.log)[1])
    for budget, code in ((least, 0), (least - 1, 78)):
        link = QSGD | {"budget_bytes_per_round": budget}
        file = write_federation(**PAIR | {"links": [link]})
        check = Program.fedtier("config", "check", file, log_path=tmp_path / f"{budget}.log")
        assert check.exit_code() == code, check.log


def test_a_cloud_starts_no_run_whose_rounds_do_not_fit(testbed):
    bed = testbed(**PAIR | {"links": [QSGD | {"budget_bytes_per_round": MODEL}]})
    cloud = bed.start_cloud()
    assert cloud.exit_code() == 78
    assert re.search(rf"budget_bytes_per_round = {MODEL} .* Use \d+ or more", cloud.log)
