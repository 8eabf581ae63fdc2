"""Codecs by name, as federation files and heads write them."""

from __future__ import annotations

from collections.abc import Mapping

from fedtier.errors import ConfigError
from fedtier.limits import (
    BLOCK_BITS_MAX,
    BLOCK_BITS_MIN,
    BUCKET_DEFAULT,
    BUCKET_MAX,
    LATTICE_SPACING_MAX,
    LATTICE_SPACING_MIN,
    LEVELS_MAX,
)
from fedtier.quantize.block import Block
from fedtier.quantize.codec import Codec
from fedtier.quantize.identity import Identity
from fedtier.quantize.lattice import Lattice
from fedtier.quantize.qsgd import Qsgd
from fedtier.words import did_you_mean

_RANGES: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "identity": {},
    "qsgd": {"levels": (1, LEVELS_MAX), "bucket": (1, BUCKET_MAX)},
    "block": {"bits": (BLOCK_BITS_MIN, BLOCK_BITS_MAX), "bucket": (1, BUCKET_MAX)},
    "lattice": {"spacing": (LATTICE_SPACING_MIN, LATTICE_SPACING_MAX)},
}
CODEC_NAMES = tuple(_RANGES)
CODEC_PARAMETERS = tuple(dict.fromkeys(name for ranges in _RANGES.values() for name in ranges))


def make_codec(
    name: str,
    parameters: Mapping[str, float],
    *,
    announced: float | None = None,
    where: str = "codec",
) -> Codec:
    """Make a codec from what an operator or a parent wrote.

    Args:
        name: ``identity`` (no parameters), ``qsgd`` (``levels`` 1..32767, and ``bucket`` 1..2**20,
            absent for one norm over the whole vector), ``block`` (``bits`` 2..16, and ``bucket``,
            512 where absent) or ``lattice`` (``spacing`` 1/256..64, in units of the deltas' root
            mean square).
        parameters: By name.
        announced: The spacing that a cell shares in an iteration, for ``lattice`` alone.
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
        whole = type(low) is int
        fits = type(value) is int or (type(value) is float and not whole)
        if not fits or not low <= value <= high:
            raise ConfigError(
                f"{where}: {parameter} of codec {name!r} is {value!r}; "
                f"use a {'whole ' if whole else ''}number from {low} to {high}"
            )
    if name == "identity":
        return Identity()
    if name == "block":
        if "bits" not in parameters:
            raise ConfigError(
                f"{where}: codec 'block' needs bits, a whole number from {BLOCK_BITS_MIN} to "
                f"{BLOCK_BITS_MAX}; 8 is the usual, 4 the least that most models bear"
            )
        return Block(
            bits=int(parameters["bits"]), bucket=int(parameters.get("bucket", BUCKET_DEFAULT))
        )
    if name == "lattice":
        if "spacing" not in parameters:
            raise ConfigError(
                f"{where}: codec 'lattice' needs spacing, a number from {LATTICE_SPACING_MIN:g} to "
                f"{LATTICE_SPACING_MAX:g}: that of its levels in units of the deltas' root mean "
                "square; 2 takes 1 to 1.5 bits a coordinate, 0.5 some 3"
            )
        return Lattice(spacing=float(parameters["spacing"]), announced=announced)
    if "levels" not in parameters:
        raise ConfigError(
            f"{where}: codec 'qsgd' needs levels, a whole number from 1 to {LEVELS_MAX}; "
            "7 takes 4 bits a coordinate, 127 takes 8"
        )
    bucket = parameters.get("bucket")
    return Qsgd(levels=int(parameters["levels"]), bucket=None if bucket is None else int(bucket))


def shares_spacing(name: str) -> bool:
    """Whether a codec's messages of one iteration have a spacing that their parent announces."""
    return name == Lattice.name


def announced_spacing(name: str, parameters: Mapping[str, float], rms: float) -> float:
    """What a parent announces for an iteration; 0 where it announces nothing.

    Args:
        name: Of the link's codec.
        parameters: By name.
        rms: The root mean square of the coordinates of the deltas that came last; 0 if unknown.
    """
    if not shares_spacing(name) or rms <= 0:
        return 0.0
    return Lattice(spacing=float(parameters["spacing"])).spacing_for(rms)
