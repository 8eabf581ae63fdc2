"""The artefact that came over the network, kept for the next start."""

from __future__ import annotations

from pathlib import Path

from fedtier.storage.durable import read_record, write_record


class ArtefactStore:
    """Room for one artefact's blob: the one installed last."""

    def __init__(self, directory: Path) -> None:
        """Use ``artefact.record`` in a directory."""
        self._place = directory / "artefact.record"

    def put(self, digest: str, blob: bytes) -> None:
        """Keep an artefact's blob.

        Args:
            digest: The artefact's.
            blob: What it travelled as.

        Raises:
            StorageError: If the disk does not take it.
        """
        write_record(self._place, {"artefact": digest}, {"blob": blob})

    def get(self) -> tuple[str, bytes] | None:
        """The digest and the blob of the artefact installed last, or None.

        Raises:
            StorageError: If the disk does not give it.
        """
        record = read_record(self._place)
        return None if record is None else (record[0]["artefact"], record[1]["blob"])
