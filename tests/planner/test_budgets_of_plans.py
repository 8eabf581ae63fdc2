"""One rule of budgets: what is planned within them a file may say, and errors advise enough."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtier.config.budget_rules import check_rounds
from fedtier.config.federation import Federation, parse_federation
from fedtier.config.place import Place
from fedtier.errors import ConfigError
from fedtier.planner.choose import Wish, best
from fedtier.planner.estimates import LinkEstimate
from fedtier.planner.search import Found
from fedtier.planner.setting import Setting
from fedtier.planner.typical import typical_estimates
from tests.small_federation import IDENTITY, Wanted

SHORT_WAY = {"cloud": ["west", "a"], "west": ["b", "c", "d"]}
THREE = {"cloud": ["top"], "top": ["west", "east"], "west": ["a", "b"], "east": ["c"]}
TLS_EAST = '[[node]]\nid = "east"\nbroker_url = "mqtts://east.local"\n'
HIGH_WEST = '[[node]]\nid = "west"\ntier = 2\n'
TREES = (  # with their links, and tables
    ({"cloud": ["a", "b"]}, 1, ""),
    (SHORT_WAY, 2, ""),
    (THREE, 3, ""),
    (THREE, 3, TLS_EAST),  # cells of one link in which other things are dear
    (SHORT_WAY, 3, HIGH_WEST),  # link 1 has no cell
)
CODECS = (IDENTITY, {"codec": "qsgd", "levels": 7, "bucket": 128}, {"codec": "qsgd", "levels": 127})
KEYS = ("budget_bytes_per_round", "budget_bytes_per_day")


@dataclass
class File:
    """A federation file whose budgets follow the advice of errors."""

    wanted: Wanted
    dimension: int
    latency_s: float
    budgets: dict[tuple[int, str], int] = field(default_factory=dict)
    advised: int = 0

    def read(self) -> Federation:
        links = [dict(link) for link in self.wanted.links]
        for (number, name), given_ in self.budgets.items():
            links[number - 1][name] = given_
        text = replace(self.wanted, links=links).text(artefact="model", data=Path("data"))
        return parse_federation(text, where="f.toml", directory=Path("/srv"))

    def check(self) -> None:
        check_rounds(self.read(), dimension=self.dimension, place=Place("f.toml"))

    def plan(self, wish: Wish) -> tuple[Setting, Found]:
        return best(self.setting(), wish)

    def setting(self) -> Setting:
        federation = self.read()
        link = [
            LinkEstimate(
                codec=each.codec, parameters=dict(each.parameters), latency_s=self.latency_s
            )
            for each in federation.links
        ]  # fmt: skip
        known = typical_estimates(
            dimension=self.dimension,
            step_s=dict.fromkeys(federation.topology.devices(), 0.01),
            link=link, loss=2.0, least=0.0, tau=(4, *(1 for _ in link[1:])), mu=0.2,
        )  # fmt: skip
        return Setting.of(federation, known)

    def obeying(self, act):
        """What an act gives once every budget that it refuses is what the error advises."""
        while True:
            try:
                return act()
            except ConfigError as error:
                number, name, given_, least = self._advice(str(error))
                assert self.budgets[number, name] == given_ < least
                self.budgets[number, name] = least
                self.advised += 1

    def _advice(self, message: str) -> tuple[int, str, int, int]:
        found = re.search(r"\[\[link\]\] (\d) (\w+) = (\d+)\b.* Use (\d+) or more", message)
        assert found, message
        return int(found[1]), found[2], int(found[3]), int(found[4])

    def write(self, setting: Setting, tau: tuple[int, ...]) -> None:
        """Put a plan into the file."""
        links = [{"codec": each.codec.name, **each.parameters} for each in setting.links]
        self.wanted = replace(self.wanted, tau=tau, links=links)


@st.composite
def files(draw: st.DrawFn) -> File:
    tree, tiers, tables = draw(st.sampled_from(TREES))
    return File(
        wanted=Wanted(
            tree=tree, tau=(1,) * tiers, part_bytes=draw(st.sampled_from([4096, 8192, 65_536])),
            links=[draw(st.sampled_from(CODECS)) for _ in range(tiers)],
            tables=tables,
        ),
        dimension=draw(st.sampled_from([50, 5_000, 24_807, 300_000])),
        latency_s=draw(st.sampled_from([0.0, 0.5, 60.0])),
        budgets=draw(
            st.dictionaries(
                st.tuples(st.integers(1, tiers), st.sampled_from(KEYS)),
                st.integers(1, 10).map(lambda n: 4**n),
                min_size=1,
            )
        ),
    )  # fmt: skip


@given(
    file=files(),
    room=st.sampled_from([1.0, 1.5, 4.0]),
    deadline_s=st.sampled_from([3600.0, 200_000.0]),
    codecs=st.booleans(),
)
@settings(max_examples=25)
def test_what_is_planned_is_not_refused(file, room, deadline_s, codecs):
    wish = Wish(deadline_s=deadline_s, codecs=codecs, steps_max=12)
    file.obeying(lambda: file.plan(wish))
    file.budgets = {where: int(room * least) for where, least in file.budgets.items()}
    setting, found = file.plan(wish)
    file.write(setting, found.tau)
    file.check()


@given(file=files(), tau=st.lists(st.integers(1, 5), min_size=3, max_size=3))
def test_what_an_error_advises_is_enough_and_said_once(file, tau):
    file.wanted = replace(file.wanted, tau=tuple(tau[: len(file.wanted.links)]))
    file.obeying(file.check)
    assert file.advised <= 2 * len(file.budgets), "for one part, and for a round or a day"
    planned = file.advised
    file.obeying(lambda: file.plan(Wish(deadline_s=3600, steps_max=8)))
    assert file.advised - planned <= len(file.budgets)


@pytest.mark.parametrize("iterations", range(1, 6))
@pytest.mark.parametrize("codec", CODECS)
def test_a_plan_gets_as_many_iterations_as_a_file_may_have(codec, iterations):
    # But for signs of life, which a plan counts, and of which a file knows nothing.
    file = File(
        wanted=Wanted(tree=SHORT_WAY, links=[codec, IDENTITY], tau=(1, iterations)),
        dimension=24_807, latency_s=0.0, budgets={(1, KEYS[0]): 1},
    )  # fmt: skip
    file.obeying(file.check)
    assert file.setting().costs.repeats_max([1.0]) == iterations
