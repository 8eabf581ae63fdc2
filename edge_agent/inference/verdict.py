"""Whether a new model may take the place of the served one. Pure: two scores in, a reason out."""

from __future__ import annotations

from fedtier.artefact.evaluate import Score
from fedtier.config.board import BoardTable
from fedtier.errors import FedtierError


class Unjudged(FedtierError):
    """A model could not be judged now: what judges was ended, or has no room. It is no refusal."""


def refusal(new: Score, served: Score | None, *, board: BoardTable) -> str:
    """Why a new model is not to be served; empty where it is.

    Args:
        new: Of the new model on the device's own hold-out.
        served: Of the model in its place, on the same; None where there is none to compare with.
        board: How much worse the new one may be. Of models whose answers are right or wrong
            accuracy decides, of others the loss.
    """
    if served is None or not new.examples or not served.examples:
        return ""
    if new.accuracy is not None and served.accuracy is not None:
        least = served.accuracy - board.accuracy_drop_max
        if new.accuracy >= least:
            return ""
        return (
            f"accuracy {new.accuracy:.4f} on the own hold-out, {served.accuracy:.4f} of the served "
            f"model: more than {board.accuracy_drop_max:g} lower"
        )
    most = served.loss * (1.0 + board.loss_rise_max)
    if new.loss <= most:
        return ""
    return (
        f"loss {new.loss:.4g} on the own hold-out, {served.loss:.4g} of the served model: more "
        f"than {board.loss_rise_max:g} of it higher"
    )
