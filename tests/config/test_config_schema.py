"""One schema drives checking, the JSON schema and the reference; they cannot drift apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedtier.config.reference import FILES, json_schema, markdown
from fedtier.config.schema import is_table, item_of, keys_of

ROOT = Path(__file__).parents[2]


def tables(table: type) -> Iterator[type]:
    yield table
    for key in keys_of(table):
        for hint in (key.hint, *getattr(key.hint, "__args__", ())):
            inner = item_of(hint) or hint
            if is_table(inner):
                yield from tables(inner)


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "properties" in schema and isinstance(schema["properties"], dict):
            yield schema
        for value in schema.values():
            yield from objects(value)
    if isinstance(schema, list):
        for value in schema:
            yield from objects(value)


def test_the_reference_in_docs_is_what_the_schema_says():
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    remedy = "run: fedtier config schema --markdown > docs/configuration.md"
    assert written == markdown(), remedy


@pytest.mark.parametrize("kind", FILES)
def test_the_reference_names_every_key_of_every_table(kind):
    text = markdown()
    for table in tables(FILES[kind][1]):
        for key in keys_of(table):
            assert key.info.rest or f"`{key.name}`" in text or f"{key.name}]" in text
            assert key.info.doc.endswith("."), f"{table.__name__}.{key.name}"


@pytest.mark.parametrize("kind", FILES)
def test_every_number_has_a_range_and_every_unit_ends_its_keys_name(kind):
    endings = {
        "s": "_s", "bytes": "_bytes", "bits": "_bits", "MiB": "_mib", "°C": "_c", "%": "_percent",
    }  # fmt: skip
    for table in tables(FILES[kind][1]):
        for key in keys_of(table):
            hints = (key.hint, *getattr(key.hint, "__args__", ()))
            if not key.info.rest and (int in hints or float in hints):
                assert key.info.minimum is not None or key.info.above is not None, key.name
            if key.info.unit:
                assert key.name.endswith(endings[key.info.unit])


@pytest.mark.parametrize("kind", FILES)
def test_the_json_schema_describes_every_key_and_admits_no_other(kind):
    schema = json_schema(kind)
    assert json.loads(json.dumps(schema)) == schema  # plain data, no infinities
    for table in objects(schema):
        assert table["description"]
        assert "additionalProperties" in table
        assert set(table["required"]) <= set(table["properties"])
        for name, key in table["properties"].items():
            assert key["title"] == name
            assert key["description"]


def test_the_json_schema_gives_defaults_and_ranges():
    properties: Any = json_schema("federation")["properties"]
    plan = properties["plan"]["properties"]
    assert plan["seed"]["default"] == 1
    assert plan["part_bytes"]["minimum"] == 4096
    assert plan["part_bytes"]["maximum"] == 1024 * 1024
    auto, counts = plan["tau"]["anyOf"]
    assert auto == {"type": "string", "enum": ["auto"]}
    assert counts["items"] == {"type": "integer", "minimum": 1, "maximum": 1_000_000}
    assert counts["maxItems"] == 8
    assert plan["schedule"]["properties"]["mu"]["minimum"] == 1e-15
    assert plan["schedule"]["properties"]["factor"]["exclusiveMinimum"] == 0
    assert properties["federation"]["properties"]["weights"]["enum"] == ["devices", "examples"]
    assert properties["link"]["items"]["additionalProperties"] == {
        "anyOf": [{"type": "integer"}, {"type": "number"}]
    }
    assert properties["federation"]["additionalProperties"] is False
