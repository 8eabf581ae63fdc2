"""Write the small federation into a directory of its own."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Literal

from fedtier.starter.example_data import csv_files, npz_file
from fedtier.storage.new_files import check_unused, write_new_files

DataKind = Literal["csv", "npz"]

DEVICES = 5  # device-1 to device-4 train; device-5 is held out

_README = "README.md"
_FEDERATION = "federation.toml"
_AS_THEY_STAND = (_README, _FEDERATION, "net.py")
_NPZ_TABLE = """\
source = "npz-directory"
path   = "data"               # data/<device>.npz: rows x, and y, which counts LABELS from 0
"""


def write_starter(directory: Path, *, data: DataKind) -> list[str]:
    """Write a federation that trains as it stands.

    Args:
        directory: Made if missing; it must be empty.
        data: In what kind of files the example's data come.

    Returns:
        The commands that train it, to be given in that directory.

    Raises:
        ConfigError: If there is something in the directory; nothing is written then.
        StorageError: If the disk does not give or take a file.
    """
    check_unused(directory, called=str(directory))
    here = files("fedtier.starter")
    texts = {name: here.joinpath(name).read_text(encoding="utf-8") for name in _AS_THEY_STAND}
    if data == "npz":
        texts[_FEDERATION] = _with_npz(texts[_FEDERATION])
    contents = {name: text.encode() for name, text in texts.items()}
    for number in range(1, DEVICES + 1):
        device = f"data/device-{number}"
        if data == "npz":
            contents[f"{device}.npz"] = npz_file(number)
        else:
            contents |= {f"{device}/{name}": file for name, file in csv_files(number).items()}
    write_new_files(directory, contents)
    block = texts[_README].partition("```sh\n")[2].partition("```")[0]
    return [line.partition("#")[0].rstrip() for line in block.splitlines()]


def _with_npz(text: str) -> str:
    """The federation file with the data table of ``.npz`` files."""
    before, _, rest = text.partition("source   =")
    _, _, after = rest.partition("\n\n")
    return f"{before}{_NPZ_TABLE}\n{after}"
