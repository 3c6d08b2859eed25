"""Quantiles of a histogram's buckets, by the formula of Prometheus' `histogram_quantile`.

Decides nothing else.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate


def quantile(bounds: Sequence[float], counts: Sequence[int | float], share: float) -> float | None:
    """Returns the value below which a share of all values lies, interpolated inside its bucket; None where nothing was counted.

    A value beyond the last bound is told as that bound, for nothing more is known of it.

    Args:
        bounds: upper bounds of the buckets, ascending, without infinity.
        counts: values in each bucket, and last those beyond all bounds; not cumulative.
        share: from 0 to 1.
    """
    sums = list(accumulate(counts))
    if not sums or sums[-1] <= 0:
        return None
    rank = share * sums[-1]
    index = bisect_left(sums, rank)
    while counts[index] == 0:  # a rank of 0 falls into the first bucket that has a value
        index += 1
    if index >= len(bounds):
        return bounds[-1] if bounds else None
    below = bounds[index - 1] if index else 0.0
    before = sums[index] - counts[index]
    return below + (bounds[index] - below) * (rank - before) / counts[index]
