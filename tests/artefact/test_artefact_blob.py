"""An artefact as it travels: what comes out is what went in, or is refused."""

from __future__ import annotations

import json
import zlib

import pytest

from fedtier.artefact.blob import decode_artefact, encode_artefact
from fedtier.artefact.find import find_artefact
from fedtier.artefact.manifest import INITIAL_FILE, MANIFEST_FILE, TRAIN_FILE
from fedtier.errors import ConfigError, WireError
from fedtier.limits import ARTEFACT_BYTES_MAX
from fedtier.storage.artefact_store import ArtefactStore
from fedtier.wire.blob import decode_blob, encode_blob

ARTEFACT = find_artefact("package:imu")
BLOB = encode_artefact(ARTEFACT)


def packed(contents, *, sizes=None, digest=ARTEFACT.digest):
    """A blob of these files as a parent that lies would make it."""
    sizes = sizes or {name: len(data) for name, data in contents.items()}
    manifest = {"format": 1, "artefact": digest, "files": [list(item) for item in sizes.items()]}
    return encode_blob("artefact", manifest, [zlib.compress(d) for d in contents.values()])


def files():
    contents = {k: v for k, v in ARTEFACT.contents().items() if k != INITIAL_FILE}
    return {MANIFEST_FILE: contents.pop(MANIFEST_FILE), **contents}


@pytest.mark.covers("W-11")
def test_what_travels_is_all_that_a_device_needs_and_little_of_it():
    found = decode_artefact(BLOB, digest=ARTEFACT.digest)
    assert found.digest == ARTEFACT.digest
    assert dict(found.files) == {k: v for k, v in ARTEFACT.files.items() if k != INITIAL_FILE}
    # Graphs are text-like: a sixth is far more than they take.
    assert len(BLOB) < sum(map(len, found.files.values())) / 2
    assert found.train_session().get_inputs()[0].name == "w"


@pytest.mark.covers("W-11")
@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda c: c.pop(MANIFEST_FILE), ConfigError, "manifest.json is missing"),
        (lambda c: c.pop(TRAIN_FILE), ConfigError, "train.onnx is missing"),
        (lambda c: c.update({TRAIN_FILE: b"other"}), ConfigError, "train.onnx has SHA-256"),
        (lambda c: c.update({"../escape": b"x"}), WireError, "not [name, bytes]"),
        (lambda c: c.update({"/etc/passwd": b"x"}), WireError, "not [name, bytes]"),
        (lambda c: c.update({MANIFEST_FILE: b"{}"}), ConfigError, "artefact format None"),
    ],
)
def test_files_that_are_not_an_artefacts_are_refused(change, error, says):
    contents = files()
    change(contents)
    with pytest.raises(error) as refused:
        decode_artefact(packed(contents), digest=ARTEFACT.digest)
    assert says in str(refused.value)


@pytest.mark.covers("W-11")
def test_another_artefact_than_the_heads_is_refused():
    with pytest.raises(ConfigError, match="asked for was cdcdcdcdcdcd"):
        decode_artefact(BLOB, digest="cd" * 32)


@pytest.mark.covers("W-11")
def test_no_more_is_unpacked_than_is_listed():
    contents = {MANIFEST_FILE: bytes(10_000_000)}  # ten kilobytes when packed
    with pytest.raises(WireError, match="does not have its 10 bytes"):
        decode_artefact(packed(contents, sizes={MANIFEST_FILE: 10}), digest=ARTEFACT.digest)
    blob = packed(contents, sizes={MANIFEST_FILE: ARTEFACT_BYTES_MAX + 1})
    with pytest.raises(WireError, match=f"at most {ARTEFACT_BYTES_MAX} bytes"):
        decode_artefact(blob, digest=ARTEFACT.digest)


@pytest.mark.covers("W-11")
@pytest.mark.parametrize(
    "files", [[["a", True]], [["a"]], ["a"], [["a", -1]], [["a", 1], ["a", 1]]]
)
def test_a_list_that_is_none_is_refused(files):
    manifest = {"format": 1, "artefact": ARTEFACT.digest, "files": files}
    blob = encode_blob("artefact", manifest, [zlib.compress(b"x")] * len(files))
    with pytest.raises((WireError, ConfigError)):
        decode_artefact(blob, digest=ARTEFACT.digest)


def test_a_section_that_zlib_did_not_write_is_refused():
    manifest = {"format": 1, "artefact": ARTEFACT.digest, "files": [[MANIFEST_FILE, 5]]}
    with pytest.raises(WireError, match="cannot be unpacked"):
        decode_artefact(encode_blob("artefact", manifest, [b"hello"]), digest=ARTEFACT.digest)


def test_the_same_artefact_makes_the_same_blob():
    assert encode_artefact(ARTEFACT) == BLOB
    listing = decode_blob(BLOB, kind="artefact").manifest.raw()
    assert json.loads(json.dumps(listing["files"]))[0][0] == MANIFEST_FILE


def test_a_store_gives_back_what_was_put_last(tmp_path):
    store = ArtefactStore(tmp_path)
    assert store.get() is None
    store.put("ab" * 32, b"first")
    store.put(ARTEFACT.digest, BLOB)
    assert ArtefactStore(tmp_path).get() == (ARTEFACT.digest, BLOB)
