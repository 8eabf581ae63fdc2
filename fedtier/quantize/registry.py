"""Codecs by name, as federation files and heads write them."""

from __future__ import annotations

from collections.abc import Mapping

from fedtier.errors import ConfigError
from fedtier.limits import BLOCK_BITS_MAX, BLOCK_BITS_MIN, BUCKET_DEFAULT, BUCKET_MAX, LEVELS_MAX
from fedtier.quantize.block import Block
from fedtier.quantize.codec import Codec
from fedtier.quantize.identity import Identity
from fedtier.quantize.qsgd import Qsgd
from fedtier.words import did_you_mean

_RANGES: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "identity": {},
    "qsgd": {"levels": (1, LEVELS_MAX), "bucket": (1, BUCKET_MAX)},
    "block": {"bits": (BLOCK_BITS_MIN, BLOCK_BITS_MAX), "bucket": (1, BUCKET_MAX)},
}
CODEC_NAMES = tuple(_RANGES)
CODEC_PARAMETERS = tuple(dict.fromkeys(name for ranges in _RANGES.values() for name in ranges))


def make_codec(name: str, parameters: Mapping[str, int], *, where: str = "codec") -> Codec:
    """Make a codec from what an operator or a parent wrote.

    Args:
        name: ``identity`` (no parameters), ``qsgd`` (``levels`` 1..32767, and ``bucket`` 1..2**20,
            absent for one norm over the whole vector) or ``block`` (``bits`` 2..16, and ``bucket``,
            512 where absent).
        parameters: By name.
        where: What to name in the error: file and key, or the message it came from.

    Raises:
        ConfigError: If the name or a parameter is unknown, missing, of another type or out of
            range; the message suggests what may have been meant.
    """
    if name not in _RANGES:
        raise ConfigError(f"{where}: there is no codec {name!r}. {did_you_mean(name, CODEC_NAMES)}")
    ranges = _RANGES[name]
    for parameter, value in parameters.items():
        if parameter not in ranges:
            raise ConfigError(
                f"{where}: codec {name!r} has no parameter {parameter!r}. "
                f"{did_you_mean(parameter, ranges)}"
            )
        low, high = ranges[parameter]
        if type(value) is not int or not low <= value <= high:
            raise ConfigError(
                f"{where}: {parameter} of codec {name!r} is {value!r}; "
                f"use a whole number from {low} to {high}"
            )
    if name == "identity":
        return Identity()
    if name == "block":
        if "bits" not in parameters:
            raise ConfigError(
                f"{where}: codec 'block' needs bits, a whole number from {BLOCK_BITS_MIN} to "
                f"{BLOCK_BITS_MAX}; 8 is the usual, 4 the least that most models bear"
            )
        return Block(bits=parameters["bits"], bucket=parameters.get("bucket", BUCKET_DEFAULT))
    if "levels" not in parameters:
        raise ConfigError(
            f"{where}: codec 'qsgd' needs levels, a whole number from 1 to {LEVELS_MAX}; "
            "7 takes 4 bits a coordinate, 127 takes 8"
        )
    return Qsgd(levels=parameters["levels"], bucket=parameters.get("bucket"))
