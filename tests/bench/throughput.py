"""Tokens a second and time to the first token: the herd against vLLM's own API server, with the same engine, on the same machine.

Both are up at once and take turns, so that what else happens on the machine happens to both, and the bare server has an idle Ray node
beside it: on two cores Ray's daemons would otherwise count as the gateway's. At the end the bare server is measured alone, too.
"""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from deployments.terminal import Say
from tests.bench import load, servers
from tests.bench.load import Load, Outcome

TOKENS = 64
Series = dict[int, list[Outcome]]
"""What came out in each round, by concurrent streams."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: requests by concurrent streams, and how often."""

    rounds: int
    requests: Mapping[int, int]


FULL = Sizes(3, {1: 24, 8: 64, 32: 192})
QUICK = Sizes(1, {1: 2, 8: 8, 32: 32})


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that came out."""

    bare: Series
    herd: Series
    alone: Series
    """The bare server, without Ray beside it."""

    def ratio(self, streams: int) -> float:
        """The herd's tokens a second, as a part of the bare server's."""
        return tokens_per_s(self.herd[streams]) / tokens_per_s(self.bare[streams])

    def ratio_alone(self, streams: int) -> float:
        """The same, against the bare server without Ray beside it."""
        return tokens_per_s(self.herd[streams]) / tokens_per_s(self.alone[streams])

    def added_ms(self, streams: int) -> float:
        """What the herd adds to the time to the first token."""
        return first_ms(self.herd[streams]) - first_ms(self.bare[streams])

    def ratios(self, streams: int) -> list[float]:
        """Round by round."""
        pairs = zip(self.herd[streams], self.bare[streams], strict=True)
        return [herd.tokens_per_s / bare.tokens_per_s for herd, bare in pairs]

    def all_added_ms(self, streams: int) -> list[float]:
        """Round by round."""
        pairs = zip(self.herd[streams], self.bare[streams], strict=True)
        return [herd.first_p50_ms - bare.first_p50_ms for herd, bare in pairs]


def measure(folder: Path, sizes: Sizes, say: Say) -> Measured:
    """Starts both, measures, stops both.

    Raises:
        CannotMeasure: one of them did not come up, or did not answer.
        OperationError: the herd did not.
    """
    with contextlib.ExitStack() as longer:
        with servers.herd(folder, say) as herd:
            bare = longer.enter_context(servers.bare(folder, say))
            both = {"bare": bare, "herd": herd}
            _settle(both.values(), sizes, say)
            series = _rounds(both, sizes, say)
        alone = _rounds({"bare": bare}, sizes, lambda what: say(f"{what}, without Ray beside it"))
    return Measured(series["bare"], series["herd"], alone["bare"])


def _settle(served: Iterable[str], sizes: Sizes, say: Say) -> None:
    """What only the first requests pay is paid before it counts."""
    say("Warming up")
    most = max(sizes.requests)
    for url in served:
        load.run(Load(url, servers.MODEL, most, most, TOKENS, salt="warm"))


def _rounds(served: Mapping[str, str], sizes: Sizes, say: Say) -> dict[str, Series]:
    """Who goes first changes with every round."""
    series: dict[str, Series] = {name: {streams: [] for streams in sizes.requests} for name in served}
    for number in range(sizes.rounds):
        order = list(served) if number % 2 == 0 else list(served)[::-1]
        for streams, requests in sizes.requests.items():
            for name in order:
                say(f"Round {number + 1} of {sizes.rounds}, {streams} streams: {name}")
                asked = Load(served[name], servers.MODEL, requests, streams, TOKENS, salt=f"{number}{name}")
                series[name][streams].append(load.run(asked))
    return series


def tokens_per_s(outcomes: list[Outcome]) -> float:
    """The middle one of the rounds."""
    return median(one.tokens_per_s for one in outcomes)


def first_ms(outcomes: list[Outcome]) -> float:
    """The middle one of the rounds' medians."""
    return median(one.first_p50_ms for one in outcomes)


def summary(series: Series) -> dict[str, Any]:
    """A server's figures, for the file."""
    return {
        "tokens_per_s": {str(streams): round(tokens_per_s(outcomes), 1) for streams, outcomes in series.items()},
        "ttft_p50_ms": {str(streams): round(first_ms(outcomes), 2) for streams, outcomes in series.items()},
        "ttft_p99_ms": {str(streams): round(median(one.first_p99_ms for one in outcomes), 2) for streams, outcomes in series.items()},
    }
