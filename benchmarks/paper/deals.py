"""Data dealt to devices once and kept: one ``.npz`` for each, so that no run divides them again."""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.measure import ROOT
from fedtier.data.fashion import DIRECTORY, INSTALL
from fedtier.data.imu import FILE, prepare_command, sample_member
from fedtier.data.partition import Shares, classes_per_device, dirichlet, quantity_skew

SEED = 1  # of every division
TEST_IMAGES = 2000
HOLDOUT_PERCENT = 25  # of exercises: so long that every end has a window wherever windows begin
EXERCISES = 7
# Modulo 7 every difference but 0 occurs once: devices i and j share a class exactly if they differ.
LINE = (0, 1, 3)
PEOPLE = tuple((subject, side) for subject in range(1, 9) for side in (0, 1))

Division = Callable[[npt.NDArray[np.int64], int], Shares]

_CELLS = 16  # of four devices; a cell of eight is two of them


def _alike(labels: npt.NDArray[np.int64], devices: int) -> Shares:
    """Two classes each, those who have the same side by side: skew between cells."""
    shares = classes_per_device(labels, classes=2, devices=devices, seed=SEED)
    return tuple(sorted(shares, key=lambda share: sorted(np.unique(labels[share]).tolist())))


def _unlike(labels: npt.NDArray[np.int64], devices: int) -> Shares:
    """The same shares dealt out card by card: each cell has nearly all classes."""
    alike = _alike(labels, devices)
    cells = min(_CELLS, devices // 4)
    return tuple(share for cell in range(cells) for share in alike[cell::cells])


def _of_dirichlet(alpha: float) -> Division:
    return lambda labels, devices: dirichlet(
        labels, alpha=alpha, devices=devices, seed=SEED, minimum=20
    )


DIVISIONS: Mapping[str, Division] = {
    "iid": lambda labels, devices: quantity_skew(labels, alpha=1e6, devices=devices, seed=SEED),
    "dirichlet-10": _of_dirichlet(10.0),
    "dirichlet-1": _of_dirichlet(1.0),
    "dirichlet-0.1": _of_dirichlet(0.1),
    "alike": _alike,
    "unlike": _unlike,
}
"""Of Fashion-MNIST, by name; the devices of a cell are neighbours."""


def deal_fashion(cache: Path, *, division: str, devices: int) -> Path:
    """Shares ``d0.npz`` and on of the training images, and ``test.npz`` of the first test images.

    Args:
        cache: Where it is kept.
        division: One of ``DIVISIONS``.
        devices: How many shares.

    Returns:
        The directory.

    Raises:
        SystemExit: If the data set is not installed.
        ConfigError: If it cannot be divided so.
    """

    def write(directory: Path) -> None:
        images, labels = _fashion("train")
        shares = DIVISIONS[division](labels.astype(np.int64), devices)
        for index, share in enumerate(shares):
            np.savez(directory / f"d{index}.npz", x=images[share], y=labels[share])
        images, labels = _fashion("t10k")
        np.savez(directory / "test.npz", x=images[:TEST_IMAGES], y=labels[:TEST_IMAGES])

    return kept(cache / f"fashion-{devices}-{division}", write)


def deal_exercises(cache: Path) -> Path:
    """The demo's sixteen wrists with three of the seven exercises each, ``d0.npz`` to ``d15.npz``.

    A device keeps back the end of its file. So that it is the end of every recording, as where
    recordings are apart, these ends stand together at the end.

    Raises:
        SystemExit: If the recordings are not there.
    """

    def write(directory: Path) -> None:
        path = Path(os.environ.get("FEDTIER_DATA") or ROOT / ".cache") / FILE
        if not path.is_file():
            raise SystemExit(f"{path} does not exist. Prepare it once: {prepare_command(path)}")
        with np.load(path) as recordings:
            facts = np.stack([recordings[name] for name in ("subject", "side", "label")], axis=1)
            for index, place in enumerate(PEOPLE):
                theirs = {(index + offset) % EXERCISES for offset in LINE}
                chosen = [
                    (recordings[sample_member(number)], label)
                    for number, (*whose, label) in enumerate(facts.tolist())
                    if tuple(whose) == place and label in theirs
                ]
                x, y = _ends_last(chosen)
                np.savez(directory / f"d{index}.npz", x=x, y=y)

    return kept(cache / "exercises-3-of-7", write)


def _ends_last(
    recordings: Sequence[tuple[npt.NDArray[np.float32], int]],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """All rows with their labels, first the beginning of every recording and then every end."""
    beginnings, ends = [], []
    for samples, label in recordings:
        cut = len(samples) - len(samples) * HOLDOUT_PERCENT // 100
        beginnings.append((samples[:cut], label))
        ends.append((samples[cut:], label))
    parts = [*beginnings, *ends]
    labels = [np.full(len(samples), label, np.int64) for samples, label in parts]
    return np.concatenate([samples for samples, _ in parts]), np.concatenate(labels)


def _fashion(part: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    def body(name: str, header_bytes: int) -> npt.NDArray[np.uint8]:
        path = Path(DIRECTORY) / f"{part}-{name}-ubyte.gz"
        if not path.is_file():
            raise SystemExit(f"{path} does not exist. Install it: {INSTALL}")
        return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header_bytes)

    return body("images-idx3", 16).reshape(-1, 1, 28, 28), body("labels-idx1", 8)


def kept(directory: Path, write: Callable[[Path], None]) -> Path:
    """A directory that is whole or not there, whoever ends this process and when.

    Args:
        directory: What is written unless it is there.
        write: Fills a new directory.
    """
    if not directory.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
            whole = Path(scratch) / "whole"
            whole.mkdir()
            write(whole)
            whole.rename(directory)
    return directory
