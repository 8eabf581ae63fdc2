"""What an artefact takes of a board: its batch, and memory at the very least."""

from __future__ import annotations

from fedtier.artefact.artefact import Artefact
from fedtier.config.board import BoardTable
from fedtier.errors import ConfigError
from fedtier.limits import MIB

_VECTORS_MIN = 4  # the model as it came, the one a step begins from, the gradient, the next one


def check_batch(board: BoardTable, artefact: Artefact, *, where: str) -> None:
    """Refuse an artefact that was compiled for larger batches than the board should be given.

    Raises:
        ConfigError: If it was.
    """
    batch = artefact.manifest.batch
    if board.batch_max is not None and batch > board.batch_max:
        raise ConfigError(
            f"{where}: [board] batch_max = {board.batch_max}, but the artefact "
            f"{artefact.manifest.name!r} trains with batches of {batch}. Compile it with a batch "
            f"of at most {board.batch_max}, or raise batch_max if the board can take it."
        )


def needed_mib(artefact: Artefact) -> float:
    """Memory without which no step of an artefact can be done; activations come on top, in MiB."""
    return _VECTORS_MIN * 4 * artefact.layout.dimension / MIB
