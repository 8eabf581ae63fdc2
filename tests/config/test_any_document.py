"""Whatever stands in a file, the answer is a federation or a ConfigError, never a traceback."""

from __future__ import annotations

import contextlib
import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fedtier.config.federation import parse_federation
from fedtier.config.node_file import parse_node_file
from fedtier.config.toml_text import write_key, write_value
from fedtier.errors import ConfigError
from fedtier.render.node_files import render_node_files

SHIPPED = Path(__file__).parents[2] / "firmware_configs"
FEDERATION = tomllib.loads((SHIPPED / "federations" / "factory-2-tier.toml").read_text())
GATEWAY = tomllib.loads((SHIPPED / "nodes" / "gateway.toml").read_text())

anything = st.recursive(
    st.none()  # leaves the key out
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.just(10**400)  # beyond every float
    | st.floats()
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.sampled_from(
        ["", "all", "none", "cloud", "cell-1", "{1..3}", "{", "$1", "x" * 50, "mqtt://"]
    ),
    lambda inner: (
        st.lists(inner.filter(lambda value: value is not None), max_size=3)
        | st.dictionaries(st.sampled_from(["a", "id", "codec", "cloud", "tau"]), inner, max_size=3)
    ),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document where another value could stand."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for name, inner in pairs:
        found.append((*path, name))
        if isinstance(inner, dict | list):
            found += places(inner, (*path, name))
    return found


def replaced(value: Any, path: tuple[Any, ...], new: object) -> Any:
    if not path:
        return new
    if isinstance(value, dict):
        return {k: replaced(v, path[1:], new) if k == path[0] else v for k, v in value.items()}
    items = [replaced(v, path[1:], new) if n == path[0] else v for n, v in enumerate(value)]
    return [item for item in items if item is not None]


def written(document: dict[str, object]) -> str:
    pairs = ((name, value) for name, value in document.items() if value is not None)
    return "".join(f"{write_key(name)} = {write_value(value)}\n" for name, value in pairs)


@given(path=st.sampled_from(places(FEDERATION)), new=anything)
def test_any_value_anywhere_in_a_federation_file_is_taken_or_refused(path, new):
    text = written(replaced(FEDERATION, path, new))
    with contextlib.suppress(ConfigError):
        federation = parse_federation(text, where="f.toml", directory=Path("/srv"))
        urls = dict.fromkeys(federation.topology.parents(), "mqtt://h:1")
        places = {"directory": Path("/var"), "federation_file": Path("/srv/f.toml")}
        render_node_files(federation, broker_urls=urls, **places)


@given(path=st.sampled_from(places(GATEWAY)), new=anything)
def test_any_value_anywhere_in_a_node_file_is_taken_or_refused(path, new):
    text = written(replaced(GATEWAY, path, new))
    with contextlib.suppress(ConfigError):
        parse_node_file(text, where="n.toml", directory=Path("/srv"))
