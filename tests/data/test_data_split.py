import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedtier.data.preprocessing import Pipeline
from fedtier.data.recording import Recording
from fedtier.data.split import split_in_time


def numbered(rows: int, key: str = "a", first: int = 0) -> Recording:
    """A recording whose only channel counts its rows, so that a window says where it is from."""
    samples = np.arange(first, first + rows, dtype=np.float32)[:, None]
    return Recording(key=key, samples=samples, labels=np.zeros(rows, dtype=np.int64))


@given(
    rows=st.lists(st.integers(16, 300), min_size=1, max_size=4),
    percent=st.integers(1, 50),
    length=st.integers(1, 8),
    stride=st.integers(1, 8),
)
def test_no_training_window_shares_a_row_with_a_hold_out_window(rows, percent, length, stride):
    firsts = np.concatenate([[0], np.cumsum(rows)])
    recordings = [numbered(n, f"{i}", int(firsts[i])) for i, n in enumerate(rows)]
    training, holdout = split_in_time(recordings, holdout_percent=percent)
    window = {"name": "window", "length": length, "stride": min(stride, length)}
    pipeline = Pipeline.from_json([window], where="test")
    trained = set(pipeline.examples(training, where="test").x.ravel().tolist())
    kept = set(pipeline.examples(holdout, where="test").x.ravel().tolist()) if holdout else set()
    assert not trained & kept
    assert len(trained) > 0


def test_the_hold_out_is_the_last_fifteen_percent_of_each_recording():
    training, holdout = split_in_time([numbered(100), numbered(947, "b")])
    assert [len(part) for part in training] == [85, 805]
    assert [len(part) for part in holdout] == [15, 142]
    assert holdout[0].samples[:, 0].tolist() == list(range(85, 100))


def test_a_recording_too_short_for_a_hold_out_is_trained_on_whole():
    training, holdout = split_in_time([numbered(5), numbered(50, "b")])
    assert [len(part) for part in training] == [5, 43]
    assert [part.key for part in holdout] == ["b"]
