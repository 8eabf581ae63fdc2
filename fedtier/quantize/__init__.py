"""Codecs: how a delta becomes bytes on a link, and what that costs in accuracy."""

from fedtier.quantize.block import Block, block_q_bound
from fedtier.quantize.codec import Codec, Encoded
from fedtier.quantize.identity import Identity
from fedtier.quantize.lattice import Lattice
from fedtier.quantize.qsgd import Qsgd, classical_q_bound, tight_q_bound
from fedtier.quantize.registry import CODEC_NAMES, make_codec

__all__ = [
    "CODEC_NAMES",
    "Block",
    "Codec",
    "Encoded",
    "Identity",
    "Lattice",
    "Qsgd",
    "block_q_bound",
    "classical_q_bound",
    "make_codec",
    "tight_q_bound",
]
