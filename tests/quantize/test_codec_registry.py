"""Codecs by name: what a federation file may say."""

from __future__ import annotations

import pytest

from fedtier.errors import ConfigError
from fedtier.quantize import CODEC_NAMES, Block, Identity, Lattice, Qsgd, make_codec


def test_every_name_makes_its_codec():
    assert make_codec("identity", {}) == Identity()
    assert make_codec("qsgd", {"levels": 7}) == Qsgd(levels=7, bucket=None)
    assert make_codec("qsgd", {"levels": 32767, "bucket": 2**20}).text == (
        "qsgd(levels=32767,bucket=1048576)"
    )
    assert make_codec("block", {"bits": 8}) == Block(bits=8, bucket=512)
    assert make_codec("lattice", {"spacing": 2}) == Lattice(spacing=2.0)
    assert make_codec("lattice", {"spacing": 0.5}, announced=0.125).text == "lattice(spacing=0.5)"
    assert make_codec("block", {"bits": 4, "bucket": 1}).text == "block(bits=4,bucket=1)"
    assert CODEC_NAMES == ("identity", "qsgd", "block", "lattice")


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("qsdg", {"levels": 7}, "no codec 'qsdg'. Did you mean 'qsgd'"),
        ("zip", {}, "no codec 'zip'. Known: block, identity, lattice, qsgd"),
        ("qsgd", {}, "needs levels"),
        ("qsgd", {"level": 7}, "no parameter 'level'. Did you mean 'levels'"),
        ("qsgd", {"levels": 7, "colour": 1}, "no parameter 'colour'. Known: bucket, levels"),
        ("identity", {"levels": 7}, "no parameter 'levels'. Known: nothing"),
        ("qsgd", {"levels": 0}, "levels of codec 'qsgd' is 0; use a whole number from 1 to 32767"),
        ("qsgd", {"levels": 32768}, "from 1 to 32767"),
        ("qsgd", {"levels": 7.0}, "is 7.0; use a whole number"),
        ("qsgd", {"levels": True}, "is True; use a whole number"),
        ("qsgd", {"levels": "7"}, "is '7'; use a whole number"),
        ("lattice", {}, "needs spacing, a number from 0.00390625 to 64"),
        (
            "lattice",
            {"spacing": 0},
            "spacing of codec 'lattice' is 0; use a number from 0.00390625",
        ),
        ("lattice", {"spacing": 65.0}, "to 64"),
        ("lattice", {"spacing": "2"}, "is '2'; use a number"),
        ("lattice", {"spacing": True}, "is True; use a number"),
        ("lattice", {"spacing": float("nan")}, "is nan; use a number"),
        ("block", {}, "needs bits, a whole number from 2 to 16"),
        ("block", {"bits": 1}, "bits of codec 'block' is 1; use a whole number from 2 to 16"),
        ("block", {"bits": 17}, "from 2 to 16"),
        ("block", {"bits": 8, "levels": 127}, "no parameter 'levels'. Known: bits, bucket"),
        ("qsgd", {"levels": 7, "bucket": 0}, "bucket of codec 'qsgd' is 0"),
        ("qsgd", {"levels": 7, "bucket": 2**20 + 1}, "from 1 to 1048576"),
    ],
)
def test_what_cannot_be_is_refused_naming_place_value_and_remedy(name, parameters, message):
    with pytest.raises(ConfigError) as caught:
        make_codec(name, parameters, where="federation.toml, link 1")
    assert str(caught.value).startswith("federation.toml, link 1: ")
    assert message in str(caught.value)
