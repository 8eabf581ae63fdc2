"""Artefacts reach a standing fleet whose node files name none."""

from __future__ import annotations

import dataclasses
import hashlib
import re

import numpy as np
import pytest
from testbed import write_examples

from fedtier.artefact.artefact import Artefact
from fedtier.artefact.manifest import INITIAL_FILE
from fedtier.storage.artefact_store import ArtefactStore

DEVICES = ("w-0", "w-1", "e-0")


def held(bed):
    """The artefact on the disk of every node beneath the cloud."""
    nodes = (*DEVICES, "west", "east")
    stores = [ArtefactStore(bed.directory / "state" / node).get() for node in nodes]
    return {None if found is None else found[0] for found in stores}


def edit(bed, node, pattern, replacement):
    text, count = re.subn(pattern, replacement, bed.file(node).read_text(encoding="utf-8"))
    assert count == 1, (pattern, text)
    bed.file(node).write_text(text, encoding="utf-8")


def from_another_start(artefact: Artefact) -> Artefact:
    """The same graphs with other initial parameters: another artefact."""
    initial = (artefact.initial() * np.float32(0.5)).astype("<f4").tobytes()
    digests = {**artefact.manifest.files, INITIAL_FILE: hashlib.sha256(initial).hexdigest()}
    manifest = dataclasses.replace(artefact.manifest, name="other", files=digests)
    return Artefact.verify(manifest, {**artefact.files, INITIAL_FILE: initial}, where="other")


@pytest.mark.covers("T-14")
def test_a_new_artefact_is_rolled_out_by_the_cloud_alone(
    testbed, artefact_dir, tmp_path, digest_alone
):
    bed = testbed(rounds=2)
    bed.start_fleet()
    assert held(bed) == {None}
    first = bed.run()
    assert first["model_digest"] == digest_alone(rounds=2)
    before = Artefact.load(artefact_dir)
    assert held(bed) == {before.digest}

    after = from_another_start(before)
    after.write(tmp_path / "other")
    edit(bed, "cloud", r"artefact\s*=.*", f'artefact = "{tmp_path / "other"}"')
    second = bed.run()
    assert second["artefact_digest"] == after.digest
    assert second["rounds_trained"] == 2
    assert held(bed) == {after.digest}
    for node in DEVICES:
        assert bed.nodes[node].log.count("artefact installed") == 2
        assert "abstained" not in bed.nodes[node].log


@pytest.mark.covers("T-15")
def test_a_device_whose_data_do_not_suit_the_artefact_says_so_upward(testbed, tmp_path):
    bed = testbed(rounds=1)
    write_examples(tmp_path / "narrow", "w-0", shape=(3, 128))
    edit(bed, "w-0", r'path\s*=\s*"\S*data\S*"', f'path = "{tmp_path / "narrow"}"')
    bed.start_fleet()
    report = bed.run()
    assert report["rounds_trained"] == 1
    assert [link["abstained"] for link in report["links"]] == [2, 0]  # of both iterations
    assert "artefact not installed" in bed.nodes["w-0"].log
    assert re.search(r"member abstained .*examples have shape \(3, 128\)", bed.nodes["west"].log)
