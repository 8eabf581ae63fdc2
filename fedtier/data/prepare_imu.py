"""Prepare the smartwatch recordings once: from the ``seglearn`` wheel to a file of plain arrays.

Run ``python -m fedtier.data.prepare_imu WHEEL OUT``. The wheel holds them as a pickle, which may
run any code when it is read. It is therefore read here and nowhere else: only after its digest is
verified, and by a reader that admits nothing but numpy's arrays. What it writes has no pickle in
it, and its bytes are the same on every machine.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedtier.data.imu import FORMAT, prepare_command, sample_member
from fedtier.errors import EXIT_DONE, EXIT_USAGE, ConfigError, FedtierError
from fedtier.storage.durable import write_durably

MEMBER = "seglearn/data/watch_dataset.npy"
MEMBER_SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
_KEYS = {"X", "y", "side", "subject", "X_labels", "y_labels"}


class _ArraysOnly(pickle.Unpickler):
    """Admits the four names numpy writes for an array of numbers or objects; no other."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - pickle's own signature
        """Resolve one of the admitted names, whichever numpy wrote and reads them."""
        match (module, name):
            case ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct"):
                return np.empty(0).__reduce__()[0]
            case ("numpy", "ndarray"):
                return np.ndarray
            case ("numpy", "dtype"):
                return np.dtype
            case ("_codecs", "encode"):
                return _encode_latin1
        raise pickle.UnpicklingError(f"{module}.{name} is not admitted")


def _encode_latin1(text: str, encoding: str) -> bytes:
    """How pickle's second protocol spells bytes; any other use is refused."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"the encoding {encoding!r} is not admitted")
    return codecs.encode(text, "latin1")


def read_wheel(wheel: Path) -> dict[str, Any]:
    """Read the recordings out of the wheel.

    Returns:
        ``X`` (list of float64 arrays ``(T, 6)``), ``y``, ``side``, ``subject`` (one number for
        each), ``X_labels`` and ``y_labels`` (names).

    Raises:
        ConfigError: If the wheel is missing, damaged, or not the version whose digest is known.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(MEMBER)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"{wheel} cannot be read as the seglearn wheel ({error}). Get it with: "
            f"{prepare_command()}"
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != MEMBER_SHA256:
        raise ConfigError(
            f"{wheel}: {MEMBER} has SHA-256 {digest}, expected {MEMBER_SHA256}. "
            f"Get the right version with: {prepare_command()}"
        )
    return _parse(data)


def _parse(data: bytes) -> dict[str, Any]:
    """Read the one object array of an ``.npy`` file: its header, then the pickle."""
    file = io.BytesIO(data)
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    array = _ArraysOnly(file, encoding="latin1").load()
    found = array.item() if dtype.hasobject and shape == () else None
    if not isinstance(found, dict) or set(found) != _KEYS:
        raise ConfigError(f"{MEMBER} does not hold the tables {sorted(_KEYS)}")
    return found


def plain_arrays(found: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """Turn what the wheel holds into named arrays of numbers and of text of fixed width."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "format": np.array(FORMAT, dtype="<i8"),
        "subject": np.asarray(found["subject"]).astype("<i8"),
        "side": np.asarray(found["side"]).astype("<i8"),
        "label": np.asarray(found["y"]).astype("<i8"),
        "channels": np.array([str(name) for name in found["X_labels"]]).astype("<U8"),
        "labels": np.array([str(name) for name in found["y_labels"]]).astype("<U8"),
    }
    for index, samples in enumerate(found["X"]):
        arrays[sample_member(index)] = np.ascontiguousarray(samples, dtype="<f4")
    return arrays


def write_npz(arrays: dict[str, npt.NDArray[Any]], out: Path) -> None:
    """Write arrays as an ``.npz`` whose bytes depend on nothing but them, by write and rename.

    Raises:
        StorageError: If the disk does not take it.
    """
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            body = io.BytesIO()
            np.lib.format.write_array(body, array, version=(1, 0), allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3
            member.external_attr = 0o644 << 16
            archive.writestr(member, body.getvalue())
    write_durably(out, whole.getvalue())


def main(arguments: list[str]) -> int:
    """The command: two paths; returns the exit code."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m fedtier.data.prepare_imu WHEEL OUT\n")
        return EXIT_USAGE
    wheel, out = (Path(argument) for argument in arguments)
    try:
        arrays = plain_arrays(read_wheel(wheel))
        write_npz(arrays, out)
    except FedtierError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{out}: {len(arrays['label'])} recordings, {out.stat().st_size} bytes\n")
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
