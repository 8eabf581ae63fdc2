"""Artefacts reach a standing fleet whose node files name none."""

from __future__ import annotations

import dataclasses
import hashlib
import re

import numpy as np
import onnx
import pytest
from counting_proxy import CountingProxy
from small_federation import write_examples
from testbed import DIMENSION

from fedtier.artefact.artefact import Artefact
from fedtier.artefact.manifest import INFER_FILE, INITIAL_FILE
from fedtier.storage.artefact_store import ArtefactStore
from fedtier.wire.topics import ROOT

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


def of_many_parts(artefact: Artefact) -> Artefact:
    """The same graphs with a long word in one of them that does not pack: it travels as 100 KB."""
    graph = onnx.load_from_string(artefact.files[INFER_FILE])
    graph.doc_string = np.random.default_rng(1).bytes(100_000).hex()
    content = graph.SerializeToString()
    digests = {**artefact.manifest.files, INFER_FILE: hashlib.sha256(content).hexdigest()}
    manifest = dataclasses.replace(artefact.manifest, name="large", files=digests)
    return Artefact.verify(manifest, {**artefact.files, INFER_FILE: content}, where="large")


def fetchings(bed, node):
    """For each time a node began to fetch: how many parts there are, and how many it had."""
    pattern = r"fetching artefact .*parts=(\d+) here=(\d+)"
    return [tuple(map(int, found)) for found in re.findall(pattern, bed.nodes[node].log)]


@pytest.mark.covers("T-14")
@pytest.mark.parametrize("node", ["w-0", "west"])
def test_a_node_killed_while_a_large_artefact_travels_asks_only_for_the_rest_of_it(
    testbed, connect, artefact_dir, tmp_path, digest_alone, node
):
    bed = testbed(rounds=1, part_bytes=4096)
    of_many_parts(Artefact.load(artefact_dir)).write(tmp_path / "large")
    edit(bed, "cloud", r"artefact\s*=.*", f'artefact = "{tmp_path / "large"}"')
    parent = "cloud" if node == "west" else "west"
    # The first model comes down beside it, to all.
    with CountingProxy(bed.brokers[parent].port, cut_at_bytes_down=4 * DIMENSION + 60_000) as link:
        edit(bed, node, r"(\[parent\]\n(?:.*\n)*?url\s*=).*", rf'\1 "{link.url}"')
        bed.start_fleet()
        bed.start_cloud("--out", bed.directory / "out")
        bed.wait_until(lambda: link.is_cut, "a part of it has come")
        file = bed.directory / "state" / node / "artefact.parts"
        bed.wait_until(lambda: file.exists() and file.stat().st_size > 20_000, "and is saved")
        bed.nodes[node].kill()
        _, inbox = connect(bed.urls[parent], "observer", f"{ROOT}/+/{parent}/{node}/artefact/+")
        link.mend()
        bed.start(node)
        report = bed.finished(bed.directory / "out")
    (parts, none), (again, here) = fetchings(bed, node)
    assert (none, again) == (0, parts)
    assert here >= 5
    assert len({topic for topic, _, _ in inbox.messages}) == parts - here
    assert report["model_digest"] == digest_alone(rounds=1, part_bytes=4096)
    assert not file.exists()


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
