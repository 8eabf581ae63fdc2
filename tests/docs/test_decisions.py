"""Decision records are numbered without gaps, complete, listed, and say what replaced them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DIRECTORY = Path(__file__).parents[2] / "docs" / "decisions"
RECORDS = sorted(path for path in DIRECTORY.glob("*.md") if path.name != "README.md")
NAMES = [path.name for path in RECORDS]
SECTIONS = ["Context", "Options", "Choice", "Cost"]
STATUS = re.compile(
    r"Status: (?:accepted|superseded by \[(\d{4})\]\((\d{4}-[a-z0-9-]+\.md)\)), \d{4}-\d{2}-\d{2}"
)
WORDS_MAX = 650  # a page


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def title(path: Path) -> str:
    return text(path).partition("\n")[0].partition(": ")[2]


def test_numbers_run_from_0001_without_gap_or_repeat():
    assert [name[:4] for name in NAMES] == [f"{n:04d}" for n in range(1, len(NAMES) + 1)]


@pytest.mark.parametrize("path", RECORDS, ids=NAMES)
def test_a_record_has_its_number_in_name_and_title(path):
    assert re.fullmatch(r"\d{4}-[a-z0-9]+(-[a-z0-9]+)*\.md", path.name)
    assert text(path).startswith(f"# {path.name[:4]}: ")
    assert title(path)


@pytest.mark.parametrize("path", RECORDS, ids=NAMES)
def test_a_record_has_the_four_sections_in_order_and_something_in_each(path):
    pieces = re.split(r"^## (.+)$", text(path), flags=re.MULTILINE)
    assert pieces[1::2] == SECTIONS
    assert all(len(body.split()) >= 10 for body in pieces[2::2])


@pytest.mark.parametrize("path", RECORDS, ids=NAMES)
def test_a_record_is_a_page(path):
    assert len(text(path).split()) <= WORDS_MAX


@pytest.mark.parametrize("path", RECORDS, ids=NAMES)
def test_a_status_is_accepted_or_names_a_later_record(path):
    status = STATUS.fullmatch(text(path).splitlines()[2])
    assert status, text(path).splitlines()[2]
    number, file = status.groups()
    if number is not None:
        assert file in NAMES
        assert file[:4] == number > path.name[:4]


@pytest.mark.parametrize("path", RECORDS, ids=NAMES)
def test_records_that_are_cited_by_number_exist(path):
    known = {name[:4] for name in NAMES}
    assert set(re.findall(r"\((\d{4})\)", text(path))) <= known


def test_every_record_is_listed_with_its_title():
    rows = re.findall(
        r"^\| \[(\d{4})\]\(([^)]+)\) \| (.+) \|$", text(DIRECTORY / "README.md"), re.M
    )
    assert rows == [(path.name[:4], path.name, title(path)) for path in RECORDS]
