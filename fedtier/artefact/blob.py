"""An artefact as one blob, the form in which it reaches a fleet: nothing in it is code.

One section for each file, as zlib wrote it, the manifest's first. The initial parameters are left
out: they reach a node as a model does, and only the cloud begins from them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping

from fedtier.artefact.artefact import Artefact
from fedtier.artefact.manifest import INITIAL_FILE, MANIFEST_FILE, ArtefactManifest
from fedtier.errors import ConfigError, WireError
from fedtier.limits import ARTEFACT_BYTES_MAX
from fedtier.wire.blob import decode_blob, encode_blob

FORMAT = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_WHERE = "artefact from the parent"


def encode_artefact(artefact: Artefact) -> bytes:
    """Put an artefact into one blob.

    Raises:
        ConfigError: If it is larger than a node would take.
    """
    contents = {MANIFEST_FILE: artefact.manifest.to_bytes()}
    contents |= {name: data for name, data in artefact.files.items() if name != INITIAL_FILE}
    unpacked_bytes = sum(map(len, contents.values()))
    if unpacked_bytes > ARTEFACT_BYTES_MAX:
        raise ConfigError(
            f"artefact {artefact.manifest.name} has {unpacked_bytes} bytes of graphs, a node takes "
            f"at most {ARTEFACT_BYTES_MAX}. Compile it for shorter sequences or with fewer layers."
        )
    listing = [[name, len(data)] for name, data in contents.items()]
    manifest = {"format": FORMAT, "artefact": artefact.digest, "files": listing}
    return encode_blob("artefact", manifest, [zlib.compress(d, 9) for d in contents.values()])


def decode_artefact(blob: bytes, *, digest: str) -> Artefact:
    """Take an artefact out of its blob, and verify every file of it.

    Args:
        blob: As ``encode_artefact`` wrote it.
        digest: The artefact's, as the head says.

    Returns:
        The artefact without its initial parameters.

    Raises:
        WireError: If the blob is not as written.
        ConfigError: If its files are not those of an artefact, or of another one.
    """
    parsed = decode_blob(blob, kind="artefact")
    parsed.manifest.integer("format", FORMAT, FORMAT)
    sizes = [_file(item) for item in parsed.manifest.listing("files", items_max=16)]
    if len(sizes) != len(parsed.sections) or len(dict(sizes)) != len(sizes):
        raise WireError("an artefact's list of files is not that of its sections")
    if sum(size for _, size in sizes) > ARTEFACT_BYTES_MAX:
        raise WireError(f"an artefact has at most {ARTEFACT_BYTES_MAX} bytes when unpacked")
    contents = {
        name: _unpacked(section, size)
        for (name, size), section in zip(sizes, parsed.sections, strict=True)
    }
    return artefact_of(contents, digest=digest, where=_WHERE)


def artefact_of(contents: Mapping[str, bytes], *, digest: str, where: str) -> Artefact:
    """Make an artefact of its files, the initial parameters left out.

    Raises:
        ConfigError: If the files do not verify, or are another artefact's.
    """
    if MANIFEST_FILE not in contents:
        raise ConfigError(f"{where}: {MANIFEST_FILE} is missing.")
    manifest = ArtefactManifest.parse(contents[MANIFEST_FILE], where=f"{where}: {MANIFEST_FILE}")
    if manifest.digest != digest:
        raise ConfigError(
            f"{where}: it is {manifest.digest[:12]}, asked for was {digest[:12]}. "
            "Start the cloud with the artefact that its run began with."
        )
    return Artefact.verify(manifest, contents, where=where, initial=False)


def _file(item: object) -> tuple[str, int]:
    match item:
        case [str() as name, int() as size] if _NAME.fullmatch(name) and size >= 0:
            return name, size
    raise WireError("an artefact's file is not [name, bytes]")


def _unpacked(section: memoryview, size: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(section, size + 1)  # 0 would mean without a bound
    except zlib.error as error:
        raise WireError(f"an artefact's file cannot be unpacked: {error}") from None
    if not stream.eof or len(data) != size:
        raise WireError(f"an artefact's file does not have its {size} bytes")
    return data
