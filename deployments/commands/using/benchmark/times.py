"""Sums up the client's times of each request where it does not do so itself, which is where it has no tokenizer. In milliseconds."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any


def with_times(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the client's figures with means, medians and 99th percentiles of the times to first tokens and between tokens."""
    answered = [index for index, count in enumerate(figures.get("output_lens", ())) if count]
    firsts = [figures["ttfts"][index] for index in answered]
    between = [time for index in answered for time in figures["itls"][index]]
    return {**_summary("ttft", firsts), **_summary("itl", between), **figures}


def _summary(name: str, times_s: Sequence[float]) -> dict[str, float]:
    times = sorted(1000 * one for one in times_s) or [0.0]
    return {f"mean_{name}_ms": fmean(times), f"median_{name}_ms": percentile(times, 50), f"p99_{name}_ms": percentile(times, 99)}


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Returns a percentile of values in ascending order, between two of them by a straight line, as numpy does.

    Args:
        ordered: at least one value.
        percent: 0 to 100.
    """
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
