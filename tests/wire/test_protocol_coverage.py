"""The normative pages and the tests name each other, and the pages describe what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from wire_examples import EXAMPLES, LATTICE_BLOB, MODEL_BLOB

from fedtier import limits
from fedtier.core.effects import NO_BLOB
from fedtier.wire.blob import decode_blob
from fedtier.wire.topics import (
    ALL,
    FOR_ALL,
    FOR_ONE,
    PART_CHANNELS,
    QOS,
    RETAINED,
    child_filters,
    parent_filters,
)

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
NUMBERS = (ROOT / "docs" / "numbers.md").read_text(encoding="utf-8")
CLAUSE = re.compile(r"^\*\*([A-Z]-\d+)\*\*", re.MULTILINE)
MARK = re.compile(r"""covers\(\s*["']([^"']+)["']\s*\)""")

CLAUSES = CLAUSE.findall(PROTOCOL) + CLAUSE.findall(NUMBERS)


def marks():
    found = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for clause in MARK.findall(path.read_text(encoding="utf-8")):
            found.setdefault(clause, []).append(path.name)
    return found


@pytest.mark.parametrize("clause", CLAUSES)
def test_a_clause_is_shown_by_a_test(clause):
    assert clause in marks(), f"no test carries @pytest.mark.covers({clause!r})"


def test_every_mark_names_a_clause():
    unknown = {clause: files for clause, files in marks().items() if clause not in CLAUSES}
    assert unknown == {}


def test_a_clause_has_its_number_once_and_none_is_left_out():
    assert len(set(CLAUSES)) == len(CLAUSES)
    for letter in {clause[0] for clause in CLAUSES}:
        numbers = sorted(int(clause[2:]) for clause in CLAUSES if clause[0] == letter)
        assert numbers == list(range(1, len(numbers) + 1)), letter


def test_a_clause_that_is_referred_to_exists():
    for page in (PROTOCOL, NUMBERS):
        named = set(re.findall(r"\b([A-Z]-\d+)\b", page))
        assert named <= set(CLAUSES)


# The tables


def section(heading):
    return PROTOCOL.partition(f"### {heading}\n")[2].partition("\n#")[0]


def rows(text):
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line.startswith("| `")
    ]


@pytest.mark.covers("P-2")
def test_the_table_of_channels_is_that_of_the_code():
    table = PROTOCOL.partition("<!-- channels:")[2].partition("\n\n")[0]
    described = {}
    for channel, node, _, qos, retained, _ in rows(table):
        name = channel.strip("`").removesuffix("/<part>")
        described[name] = (channel.endswith("/<part>`"), node, int(qos), retained)
    assert described == {
        channel: (
            channel in PART_CHANNELS,
            " or ".join(["`all`"] * (channel in FOR_ALL) + ["a child"] * (channel in FOR_ONE)),
            QOS[channel],
            "yes" if channel in RETAINED else "no",
        )
        for channel in QOS
    }


@pytest.mark.covers("P-3")
def test_the_subscriptions_are_those_of_the_code():
    sentence = PROTOCOL.partition("**P-3**")[2].partition("Subscriptions are")[0]
    named = re.findall(r"`([^`]+)`", sentence)
    child = [f.split("/", 4)[4] for f, _ in child_filters("f", cell="c", node="me")]
    parent = [f.split("/", 4)[4] for f, _ in parent_filters("f", cell="c")]
    assert [name.replace("<itself>", "me") for name in named] == [*child, *parent]
    assert ALL == "all"


def described_fields(text):
    return {name.strip("`") for row in rows(text) for name in re.findall(r"`[a-z0-9_]+`", row[0])}


KINDS = sorted({re.split(r"[._]", name)[0] for name in EXAMPLES if name.endswith(".json")})


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_a_message_is_described_and_no_other(kind):
    fields = set()
    for name, payload in EXAMPLES.items():
        if name.endswith(".json") and re.split(r"[._]", name)[0] == kind:
            document = json.loads(payload)
            fields |= {*document, *document.get("plan", ())}
    assert described_fields(section(kind.capitalize())) == fields


def test_every_field_of_a_manifest_is_described_and_no_other():
    update = decode_blob(LATTICE_BLOB, kind="update").manifest.raw()
    assert described_fields(section("Blob")) == set(update)
    model = decode_blob(MODEL_BLOB, kind="model").manifest.raw()
    sentence = PROTOCOL.partition("**W-10**")[2].partition(";")[0]
    assert set(re.findall(r"`([a-z]+)`", sentence)) == set(model)


@pytest.mark.parametrize(
    ("clause", "words"),
    [
        ("T-1", f"{limits.OFFER_FIRST_S:g} s, doubling to {limits.PAUSE_MAX_S:g} s"),
        ("T-4", f"at most {limits.WINDOW_PARTS} parts"),
        ("T-4", f"after {limits.GAP_S:g} s without progress"),
        ("T-16", f"{limits.PAUSE_MAX_S:g} s at most"),
        ("T-5", f"at most {limits.TRANSFERS_AT_ONCE} updates"),
        ("T-5", f"silent for {2 * limits.PAUSE_MAX_S:g} s"),
        ("T-6", f"{limits.GAP_S:g} s after"),
        ("T-7", f"{limits.PART_BYTES_MIN // 1024} KiB to {limits.PART_BYTES_MAX // 2**20} MiB"),
        ("H-9", f"once in {limits.GAP_S:g} s"),
        ("H-10", f"waits for {limits.SECOND_PARENT_WAIT_S:g} s"),
        ("M-5", f"every {limits.BEACON_S:g} s"),
        ("W-4", f"at most {limits.CONTROL_BYTES_MAX} bytes"),
        ("W-4", f"{limits.HEAD_BYTES_BASE} and {limits.HEAD_BYTES_PER_MEMBER} for each member"),
        ("W-5", f"at most {limits.SECTIONS_MAX}"),
        ("W-6", f"at most {limits.MANIFEST_BYTES_MAX} bytes"),
    ],
)
def test_a_number_of_a_clause_is_that_of_the_code(clause, words):
    assert words in PROTOCOL.partition(f"**{clause}**")[2].partition("\n**")[0]


def test_the_digest_of_no_blob_is_64_zeros():
    assert NO_BLOB == "0" * 64
    assert "64 zeros ask for the head" in section("Want")
    assert "64 zeros ask for an offer" in section("Ack")
