"""What to predict, from a file: CSV, numpy's own formats, or JSON as the endpoint takes it."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedtier.artefact.open_graph import Array
from fedtier.errors import ConfigError
from fedtier.limits import PREDICT_BYTES_MAX

_NPY, _NPZ = b"\x93NUMPY", b"PK\x03\x04"
_HINT = "Give .npy, .npz with an array x, CSV with an example a line, or JSON with one a line."
_CSV = (
    "CSV has no header, and each line is one example: all its numbers, of a window those of "
    "its first row, then of its second and so on, rows x channels together"
)
_AT_ONCE = 32  # examples in one request, where they are small enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a file asks.

    Attributes:
        name: The file's, for errors.
        requests: Lines to send, each with its end.
        count: Of its examples; None where its lines are whole requests.
        hint: What may be wrong with its examples where one is refused; may be empty.
    """

    name: str
    requests: Iterator[bytes]
    count: int | None
    hint: str = ""


def read_requests(source: str, *, prepared: bool, traits: Mapping[str, int]) -> Source:
    """The lines to send for a file; its content says of which format it is.

    Args:
        source: A path; ``-`` is stdin.
        prepared: Whether its examples have had the preprocessing.
        traits: Of all its examples.

    Returns:
        Its requests. Lines that are requests already stay as they are.

    Raises:
        ConfigError: If it cannot be read, or is of none of the formats.
    """
    name, hint = "standard input" if source == "-" else source, ""
    try:
        content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}.") from error
    if content.startswith((_NPY, _NPZ)):
        array = _array(content, name=name)
        examples: list[object] = array.tolist()
        shape = ", ".join(map(str, array.shape))
        hint = (
            f"The first axis of the array, whose shape is ({shape}), counts examples: if it is one "
            f"example, give shape (1, {shape})."
        )
    else:
        try:
            lines = [line for line in content.decode().splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise ConfigError(f"{name}: neither text nor an array of numpy. {_HINT}") from error
        first = lines[0].lstrip()[:1] if lines else ""
        if first == "{":
            _refuse_options(prepared=prepared, traits=traits, name=name)
            return Source(name=name, requests=(f"{line}\n".encode() for line in lines), count=None)
        read = _of_json if first == "[" else _of_csv
        examples = [read(line, where=f"{name}, line {n}") for n, line in enumerate(lines, 1)]
    common = {"traits": dict(traits)} if traits else {}
    requests = _requests(examples, name="inputs" if prepared else "examples", common=common)
    return Source(name=name, requests=requests, count=len(examples), hint=hint)


def _requests(
    examples: Sequence[object], *, name: str, common: Mapping[str, object]
) -> Iterator[bytes]:
    """Lines of at most so many examples, and of no more bytes than are taken."""
    texts = [json.dumps(example, separators=(",", ":")) for example in examples]
    longest = max(map(len, texts), default=0)
    at_once = max(1, min(_AT_ONCE, (PREDICT_BYTES_MAX - 4096) // (longest + 1)))
    head = json.dumps({**common, name: []}, separators=(",", ":")).removesuffix("]}")
    for start in range(0, len(texts), at_once):
        yield f"{head}{','.join(texts[start : start + at_once])}]}}\n".encode()


def _refuse_options(*, prepared: bool, traits: Mapping[str, int], name: str) -> None:
    """Whole requests say themselves what these options say of bare examples."""
    if prepared:
        raise ConfigError(
            f'{name}: its lines are requests, which --prepared does not change. Write "inputs" in '
            'them in place of "examples".'
        )
    if traits:
        raise ConfigError(
            f"{name}: its lines are requests, to which --trait adds nothing. Write "
            f'"traits": {json.dumps(dict(traits))} in them.'
        )


def _array(content: bytes, *, name: str) -> Array:
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        array: Array = loaded["x"] if isinstance(loaded, np.lib.npyio.NpzFile) else loaded
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{name}: no array to predict ({error}). {_HINT}") from error
    if array.ndim < 2 or array.dtype.kind not in "iuf":
        raise ConfigError(
            f"{name}: an array of {array.dtype}, shape {array.shape}; examples are numbers, the "
            "first axis counts them."
        )
    return array


def _of_json(line: str, *, where: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not JSON ({error}). {_HINT}") from error


def _of_csv(line: str, *, where: str) -> list[object]:
    return [_number(cell.strip(), where=where) for cell in line.split(",")]


def _number(cell: str, *, where: str) -> int | float:
    try:
        return int(cell) if cell.lstrip("+-").isdecimal() else float(cell)
    except ValueError as error:
        raise ConfigError(f"{where}: {cell[:40]!r} is no number. {_CSV}.") from error
