import pytest

from fedtier.data.fields import Fields
from fedtier.errors import ConfigError
from fedtier.words import did_you_mean


def fields(**values):
    return Fields(values, where="agent.toml [data]")


def test_a_missing_key_is_named_with_what_it_must_be():
    with pytest.raises(ConfigError, match=r"agent.toml \[data\]: side is missing.* 0 to 1"):
        fields().integer("side", low=0, high=1)


@pytest.mark.parametrize("value", [2, -1, 1.0, True, "1", None])
def test_a_number_out_of_range_or_of_another_type_is_refused(value):
    with pytest.raises(ConfigError, match="from 0 to 1"):
        fields(side=value).integer("side", low=0, high=1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3, "x", True])
def test_a_real_number_must_be_finite_and_in_range(value):
    with pytest.raises(ConfigError, match="must be a number from 0 to 2"):
        fields(std=value).number("std", low=0, high=2)


def test_a_number_in_quotes_is_said_to_be_a_text():
    table = fields(subject="11", std="0.5", subjects=[9, "10"])
    quoted = r"is '{}', a text in quotes; it must be a {} from 0 to 99$"
    with pytest.raises(ConfigError, match="subject " + quoted.format("11", "whole number")):
        table.integer("subject", low=0, high=99)
    with pytest.raises(ConfigError, match="std " + quoted.format("0.5", "number")):
        table.number("std", low=0, high=99)
    with pytest.raises(ConfigError, match="subjects " + quoted.format("10", "whole number")):
        table.integers("subjects", low=0, high=99)


def test_lists_are_checked_item_by_item():
    assert fields(subjects=[9, 10]).integers("subjects", low=0, high=99) == (9, 10)
    with pytest.raises(ConfigError, match="'ten'"):
        fields(subjects=[9, "ten"]).integers("subjects", low=0, high=99)
    with pytest.raises(ConfigError, match="not empty"):
        fields(subjects=[]).integers("subjects", low=0, high=99)
    with pytest.raises(ConfigError, match="different texts"):
        fields(features=["ax", "ax"]).texts("features")
    with pytest.raises(ConfigError, match="no number may come twice"):
        fields(triples=[[0, 1, 1]]).triples("triples", low=0, high=5)


def test_an_unknown_key_is_refused_with_the_nearest_known_one():
    table = fields(subjekt=3)
    assert not table.has("subject")
    with pytest.raises(ConfigError, match=r"'subjekt' is unknown. Did you mean 'subject'"):
        table.finish()


def test_a_missing_key_is_looked_for_under_what_is_written():
    table = fields(sbuject=3, path="x")
    table.path("path")
    with pytest.raises(ConfigError, match=r"subject is missing.*Is 'sbuject' a misspelling"):
        table.integer("subject", low=0, high=9)
    with pytest.raises(ConfigError, match=r"side is missing; it must be [^.]*$"):
        table.integer("side", low=0, high=1)


def test_a_table_of_numbers_by_name_is_checked_name_by_name():
    table = fields(traits={"side": 1, "site_2": -3}, devices={"a": {"side": 0}, "b": {}})
    assert table.named_integers("traits", low=-9, high=9) == {"side": 1, "site_2": -3}
    assert table.named_integers("others", low=0, high=1) == {}
    assert table.is_table("devices")
    inner = table.table("devices", expected="a table")
    assert [inner.named_integers(name, low=0, high=1) for name in inner.names] == [{"side": 0}, {}]
    with pytest.raises(ConfigError, match=r"\[data\]: devices: a.side is 0; .* from 1 to 2"):
        inner.named_integers("a", low=1, high=2)


def test_without_a_near_word_all_known_ones_are_listed():
    assert did_you_mean("xyz", ["noise", "gain"]) == "Known: gain, noise."
