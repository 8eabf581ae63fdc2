"""What the documents point at is there, and they speak of this project alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IGNORED = {".venv", ".git", ".cache", ".hypothesis", ".pytest_cache", "node_modules", "runs"}
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not IGNORED.intersection(path.relative_to(ROOT).parts)
)  # fmt: skip
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]

FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
# A word in backticks that claims to be a file of this project: a known folder in front.
OWN_FILE = re.compile(
    r"(?:benchmarks|cloud|docs|edge_agent|examples|fedtier|firmware_configs|gateway|requirements"
    r"|tests|\.ci)/[\w./*-]+"
)
WIRE_NAMES = ("fedtier/v1",)  # begins topics, and is no folder


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """As GitHub makes them of headings."""
    found: set[str] = set()
    for heading in HEADING.findall(prose(path)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


def is_dead(document: Path, target: str) -> bool:
    file, _, anchor = target.partition("#")
    place = (document.parent / file).resolve() if file else document
    if not place.exists() or not place.is_relative_to(ROOT):
        return True
    return bool(anchor) and place.suffix == ".md" and anchor not in anchors(place)


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_no_link_is_dead(document):
    links = [t for t in LINK.findall(prose(document)) if "://" not in t and t[:7] != "mailto:"]
    assert [target for target in links if is_dead(document, target)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_files_that_are_named_exist(document):
    named = [word for code in CODE.findall(prose(document)) for word in code.split()]
    files = [w for w in named if OWN_FILE.fullmatch(w) and not w.startswith(WIRE_NAMES)]
    missing = [f for f in files if not any(ROOT.glob(f.rstrip("/."))) and not is_pattern(f)]
    assert missing == []


def is_pattern(text: str) -> bool:
    """A name with a place left open, such as ``docs/decisions/NNNN-title.md``."""
    return "NNNN" in text


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_no_document_names_a_directory_of_somebodys_machine(document):
    assert re.findall(r"(?<![\w.])/(?:home|root|work)/\w+", document.read_text("utf-8")) == []


def test_there_is_something_to_check():
    assert {"README.md", "CHANGELOG.md", "docs/decisions/README.md"} <= set(NAMES)
