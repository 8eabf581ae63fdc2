"""A document that was read is written so that it reads the same."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.config.toml_text import write_whole

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "firmware_configs" / "federations").glob("*.toml"))

scalars = st.one_of(
    st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)  # fmt: skip
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)


@given(document=st.dictionaries(names, values, max_size=5))
def test_any_document_reads_as_it_was(document):
    assert tomllib.loads(write_whole(document, comment="one\ntwo")) == document


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_shipped_federations_read_as_they_were(path):
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    text = write_whole(document)
    assert tomllib.loads(text) == document
    assert text.count("[[link]]") == len(document["link"])
    assert "[plan.schedule]" in text
