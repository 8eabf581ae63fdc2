"""The standard normal distribution as a table of equally likely values, for augmentation.

Looking a value up costs a tenth of computing logarithm, root and cosine for it.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from fedtier.draws import DrawKey, uniform16

NORMAL_TABLE_BITS = 12


def _make_table(bits: int) -> npt.NDArray[np.float32]:
    """Quantiles at the middles of ``2**bits`` equal slices, scaled to standard deviation 1."""
    count = 1 << bits
    inverse = NormalDist().inv_cdf
    upper = np.array(
        [inverse((count + 2 * index + 1) / (2 * count)) for index in range(count // 2)]
    )
    upper /= np.sqrt((upper**2).mean())
    return np.concatenate([-upper[::-1], upper]).astype(np.float32)


NORMAL_TABLE = _make_table(NORMAL_TABLE_BITS)
"""4,096 values, float32, ascending, mean 0, standard deviation 1, largest 3.7."""


def table_normals(key: DrawKey, count: int) -> npt.NDArray[np.float32]:
    """Draw ``count`` values of the table, each by the upper 12 bits of one addressed draw."""
    codes = uniform16(key, count) >> (16 - NORMAL_TABLE_BITS)
    # "clip" only spares numpy a check: no code is outside the table.
    drawn: npt.NDArray[np.float32] = np.take(NORMAL_TABLE, codes, mode="clip")
    return drawn
