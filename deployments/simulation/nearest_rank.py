"""Percentiles by nearest rank."""

import numpy as np
from numpy.typing import NDArray


def places(counts: NDArray[np.int64], percent: int) -> NDArray[np.int64]:
    """Returns the places of a percentile in sorted lists that have so many values each; 0 where a list has none."""
    found: NDArray[np.int64] = np.minimum(np.maximum(counts - 1, 0), counts * percent // 100)
    return found
