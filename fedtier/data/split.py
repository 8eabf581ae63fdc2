"""A device's hold-out: the last part of each recording in time."""

from __future__ import annotations

from collections.abc import Sequence

from fedtier.data.recording import Recording

HOLDOUT_PERCENT_DEFAULT = 15
HOLDOUT_PERCENT_MAX = 50


def split_in_time(
    recordings: Sequence[Recording], *, holdout_percent: int = HOLDOUT_PERCENT_DEFAULT
) -> tuple[tuple[Recording, ...], tuple[Recording, ...]]:
    """Cut the last ``holdout_percent`` of the rows off each recording.

    Windows are cut afterwards, within each part: none straddles the cut, so no row is both
    trained on and held out.

    Args:
        recordings: Recordings of one device.
        holdout_percent: Whole percent, 1 to 50; of ``T`` rows the last ``T * percent // 100`` go.

    Returns:
        The training parts and the hold-out parts, in the order of ``recordings``; a part that
        would be empty is left out.
    """
    assert 1 <= holdout_percent <= HOLDOUT_PERCENT_MAX, holdout_percent
    training: list[Recording] = []
    holdout: list[Recording] = []
    for recording in recordings:
        rows = len(recording)
        cut = rows - rows * holdout_percent // 100
        training.append(recording.rows(0, cut))
        if cut < rows:
            holdout.append(recording.rows(cut, rows))
    return tuple(training), tuple(holdout)
