"""A gateway's page of metrics, as far as `herd top` shows it: counters, and histograms of latencies, by model.

Decides which lines are read. Most of a page is passed over, for a herd may have a hundred gateways that are asked every two seconds.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf

from monitoring.metrics import ITL, REQUESTS, TOKENS, TTFT, WAITING
from monitoring.tally import FAILED

_WANTED = (REQUESTS.name, TOKENS.name, WAITING.name, f"{TTFT.name}_bucket", f"{ITL.name}_bucket")
_LINE = re.compile(rf"^({'|'.join(_WANTED)})\{{(.*)\}} (\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Histogram:
    """Latencies in seconds, counted by bucket."""

    bounds: tuple[float, ...] = ()
    """Upper bounds, without infinity."""
    counts: tuple[float, ...] = ()
    """In each bucket, and last beyond all bounds; not cumulative."""

    @property
    def all(self) -> float:
        """Returns how many there are."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Counters:
    """All that a gateway has counted of a model since the gateway began."""

    requests: float = 0.0
    failed: float = 0.0
    tokens: float = 0.0
    """Tokens of answers, as engines stated them."""
    waiting: float = 0.0
    """Requests that wait there now."""
    ttft: Histogram = field(default_factory=Histogram)
    itl: Histogram = field(default_factory=Histogram)


def read(text: str) -> dict[str, Counters]:
    """Reads a page of metrics in Prometheus' text format; returns its counters by model."""
    plain: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    buckets: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for name, labels, value in _samples(text):
        model = labels.get("model", "")
        if name.endswith("_bucket"):
            buckets[model][name].append((_bound(labels.get("le", "")), value))
        else:
            for counter in _counters(name, labels):
                plain[model][counter] += value
    return {model: _of(plain[model], buckets[model]) for model in plain.keys() | buckets.keys()}


def _of(plain: Mapping[str, float], buckets: Mapping[str, list[tuple[float, float]]]) -> Counters:
    ttft, itl = (_histogram(buckets.get(f"{metric.name}_bucket", [])) for metric in (TTFT, ITL))
    return Counters(plain.get("requests", 0), plain.get("failed", 0), plain.get("tokens", 0), plain.get("waiting", 0), ttft, itl)


def _counters(name: str, labels: Mapping[str, str]) -> Iterator[str]:
    """Yields the counters that a sample belongs to."""
    if name == REQUESTS.name:
        yield "requests"
        if labels.get("outcome") in FAILED:
            yield "failed"
    elif name == WAITING.name:
        yield "waiting"
    elif labels.get("kind") == "completion":
        yield "tokens"


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for name, labels, value in _LINE.findall(text):
        yield name, {key: _ESCAPED.sub(_unescaped, said) for key, said in _LABEL.findall(labels)}, _number(value)


def _unescaped(found: re.Match[str]) -> str:
    return "\n" if found[1] == "n" else found[1]


def _number(text: str) -> float:
    """Reads a value; one that is no number of something is nothing."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value < inf else 0.0


def _bound(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return inf


def _histogram(cumulative: list[tuple[float, float]]) -> Histogram:
    ordered = sorted(cumulative)
    sums = [count for _, count in ordered]
    counts = tuple(max(0.0, one - before) for before, one in zip((0.0, *sums), sums, strict=False))
    return Histogram(tuple(bound for bound, _ in ordered if bound < inf), counts)
