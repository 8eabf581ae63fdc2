"""What travels has the same bytes as ever; `python tests/wire/wire_examples.py` shows a change."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from wire_examples import (
    ACK,
    ARTEFACT_PART,
    BEACON,
    EVALUATION_MANIFEST,
    EXAMPLES,
    GOLDEN,
    GRADIENT_MANIFEST,
    HEAD,
    HEAD_GRADIENT,
    HEAD_LATTICE,
    HEAD_LOWERING,
    HEAD_STEP,
    LATTICE_MANIFEST,
    LAYOUT,
    MODEL,
    MODEL_PART,
    PARAMETERS,
    PRESENCE,
    REJECTED,
    UPDATE_MANIFEST,
    UPDATE_PART,
    WANT,
    WANT_HEAD,
    WANT_OFFER,
    load,
)

from fedtier.core.figures import Figures
from fedtier.core.measured import GradientFigures
from fedtier.core.rollout import Verdicts, Version
from fedtier.quantize import Qsgd
from fedtier.wire.blob import decode_blob
from fedtier.wire.head import decode_head_or_beacon
from fedtier.wire.manifest import decode_model, decode_update, peek_update
from fedtier.wire.messages import Ack, Presence, Want
from fedtier.wire.parts import Part

READ = {
    "presence.json": (Presence.decode, PRESENCE),
    "head.json": (decode_head_or_beacon, HEAD),
    "head_step.json": (decode_head_or_beacon, HEAD_STEP),
    "head_lowering.json": (decode_head_or_beacon, HEAD_LOWERING),
    "head_lattice.json": (decode_head_or_beacon, HEAD_LATTICE),
    "head_gradient.json": (decode_head_or_beacon, HEAD_GRADIENT),
    "beacon.json": (decode_head_or_beacon, BEACON),
    "want.json": (Want.decode, WANT),
    "want_head.json": (Want.decode, WANT_HEAD),
    "ack.json": (Ack.decode, ACK),
    "ack_want_offer.json": (Ack.decode, WANT_OFFER),
    "ack_rejected.json": (Ack.decode, REJECTED),
    "update_part.hex": (lambda data: Part.decode(data, kind="update"), UPDATE_PART),
    "model_part.hex": (lambda data: Part.decode(data, kind="model"), MODEL_PART),
    "artefact_part.hex": (lambda data: Part.decode(data, kind="artefact"), ARTEFACT_PART),
    "artefact_blob.hex": (
        lambda data: [bytes(s) for s in decode_blob(data, kind="artefact").sections],
        [b"packed", b"too"],
    ),
    "update_blob.hex": (lambda data: decode_update(data).manifest, UPDATE_MANIFEST),
    "evaluation_blob.hex": (lambda data: decode_update(data).manifest, EVALUATION_MANIFEST),
    "lattice_blob.hex": (lambda data: decode_update(data).manifest, LATTICE_MANIFEST),
    "gradient_blob.hex": (lambda data: decode_update(data).manifest, GRADIENT_MANIFEST),
    "model_blob.hex": (lambda data: decode_model(data)[1:], (MODEL, LAYOUT.digest)),
}


@pytest.mark.covers("W-1")
@pytest.mark.covers("W-6")
@pytest.mark.covers("W-8")
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_message_is_written_as_its_golden_file_says(name):
    assert EXAMPLES[name] == load(name)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_golden_file_is_read_as_what_was_written(name):
    read, expected = READ[name]
    assert read(load(name)) == expected


def test_no_golden_file_is_left_over():
    assert {path.name for path in GOLDEN.iterdir()} == set(EXAMPLES)


def test_the_blobs_give_back_their_numbers_to_the_bit():
    parameters, _, _ = decode_model(load("model_blob.hex"))
    assert parameters.tobytes() == PARAMETERS.tobytes()
    sections = decode_update(load("update_blob.hex")).sections
    norm = np.float32(np.sqrt(3.0**2 + 4.0**2 + 1 + 0.25))
    # codes of 4 bits, offset by s = 4, after the norm: see the golden file's last line
    codes = [int(digit, 16) - 4 for byte in sections[1] for digit in f"{byte:02x}"[::-1]]
    expected = np.array(codes, np.float32) / np.float32(4) * norm
    assert Qsgd(levels=4).decode(sections, 6).tolist() == expected.tolist()


def test_figures_of_a_golden_file_say_how_far_models_got():
    found = Figures.from_json(decode_update(load("evaluation_blob.hex")).manifest.figures)
    assert found.rollout.versions == {
        Version(1, 11, "00112233aabb"): Verdicts(accepted=2),
        Version(1, 12, "ccddeeff0011"): Verdicts(accepted=1, refused=1),
    }
    assert found.to_json() == EVALUATION_MANIFEST.figures


@pytest.mark.covers("E-4")
def test_figures_of_a_golden_file_say_what_was_measured():
    found = Figures.from_json(decode_update(load("gradient_blob.hex")).manifest.figures)
    assert found.measured.gradients == GradientFigures(
        devices=2, kept=2, weight=3, loss=Fraction(11, 4), variance=0.5, moved=Fraction(1, 8),
        changed=Fraction(1, 4), spread={1: Fraction(1, 16)},
    )  # fmt: skip
    assert (found.spans, found.equipping) == ({0: 250_000, 1: 900_000}, 1500)
    assert found.to_json() == GRADIENT_MANIFEST.figures


def test_the_manifest_is_read_from_the_first_part_alone():
    assert peek_update(load("update_blob.hex")[:0x1B0]) == UPDATE_MANIFEST
