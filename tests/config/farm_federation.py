"""A federation file of a farm, with whatever is to be tried in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedtier.config.federation import Federation, parse_federation
from fedtier.errors import ConfigError

DIRECTORY = Path("/srv/farm")
TREE = """
[tree]
cloud = ["north", "south"]
north = ["cow-{1..3}"]
south = ["pig-{1,2}"]
"""


LINKS = """
[[link]]
codec = "qsgd"
levels = 7
bucket = 128

[[link]]
codec = "identity"
"""


BROKERS = """
[[node]]
id = "{cloud,north,south}"
broker_url = "mqtt://$1.local"

"""


def farm(
    *,
    federation: str = 'id = "farm"',
    tree: str = TREE,
    plan: str = "rounds = 10\ntau = [4, 2]",
    links: str = LINKS,
    data: str = 'source = "npz-directory"\npath = "readings"',
    rest: str = "",
) -> str:
    return f"""
[federation]
{federation}
{tree}
[model]
artefact = "models/cow"

[plan]
{plan}
{links}
[data]
{data}
{rest}
"""


def read(text: str) -> Federation:
    return parse_federation(text, where="farm.toml", directory=DIRECTORY)


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.exit_code == 78
    assert str(caught.value).startswith("farm.toml")
    return str(caught.value)
