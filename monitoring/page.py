"""Metrics in Prometheus' text format, written piece by piece.

Decides how long a piece is: an event loop that writes a page has its turn after each. Source of the format:
https://prometheus.io/docs/instrumenting/exposition_formats/. prometheus-client writes the same text at once, and takes five times as long.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from prometheus_client.utils import floatToGoString

from monitoring.metrics import Metric

#: Lines of a piece: about half a millisecond's work.
LINES = 500
#: Numbers from here on are written with an exponent.
_LARGE = 1e6


def head(metric: Metric) -> str:
    """Writes the two lines that stand before a metric's series."""
    meaning = metric.meaning.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {metric.name} {meaning}\n# TYPE {metric.name} {metric.kind}\n"


class Names:
    """The labels' names of a metric, in the order in which its lines have them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._sorted = sorted((name, index) for index, name in enumerate(names))

    def written(self, values: Sequence[str]) -> str:
        """Writes labels with their braces; nothing where there are none.

        Args:
            values: the labels' values, in the order in which the metric has them.
        """
        if not self._sorted:
            return ""
        return "{" + ",".join([f'{name}="{_escaped(values[index])}"' for name, index in self._sorted]) + "}"


def number(value: float) -> str:
    """Writes a value."""
    return repr(float(value)) if -_LARGE < value < _LARGE else str(floatToGoString(value))  # type: ignore[no-untyped-call]


def pieces(lines: Iterable[str]) -> Iterator[bytes]:
    """Puts lines together to pieces of at most `LINES`."""
    rest = iter(lines)
    while piece := "".join(islice(rest, LINES)):
        yield piece.encode()


def _escaped(value: str) -> str:
    if '"' in value or "\\" in value or "\n" in value:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return value
