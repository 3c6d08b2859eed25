"""Tokens a second and time to the first token: the herd against vLLM's own API server, with the same engine, on the same machine.

Both are up at once and take turns, so that what else happens on the machine happens to both, and the bare server has an idle Ray node
beside it: on two cores Ray's daemons would otherwise count as the gateway's. Where the vLLM project's router is at hand, it takes its turn
in front of the bare server. At the end the bare server is measured alone, too.
"""

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from deployments.progress import Say
from tests.bench import load, servers
from tests.bench.load import Load, Outcome
from tests.bench.simulated import live

TOKENS = 64
#: vLLM's worker spins for a second after its last step (`SpinCondition` in `shm_broadcast.py`), on the cores of whoever is asked next.
QUIET_S = 1.5
BARE, HERD, ROUTER = "bare vLLM", "herd", "vllm-router"
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
class Beside:
    """One server's figures, as parts of the bare server's."""

    bare: Series
    own: Series

    def ratio(self, streams: int) -> float:
        """Its tokens a second, as a part of the bare server's."""
        return tokens_per_s(self.own[streams]) / tokens_per_s(self.bare[streams])

    def added_ms(self, streams: int) -> float:
        """What it adds to the time to the first token."""
        return first_ms(self.own[streams]) - first_ms(self.bare[streams])

    def ratios(self, streams: int) -> list[float]:
        """Round by round."""
        pairs = zip(self.own[streams], self.bare[streams], strict=True)
        return [own.tokens_per_s / bare.tokens_per_s for own, bare in pairs]

    def all_added_ms(self, streams: int) -> list[float]:
        """Round by round."""
        pairs = zip(self.own[streams], self.bare[streams], strict=True)
        return [own.first_p50_ms - bare.first_p50_ms for own, bare in pairs]


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that came out."""

    herd: Beside
    router: Beside | None
    """vLLM's router in front of the bare server."""
    alone: Series
    """The bare server, without Ray beside it."""

    @property
    def ratio_alone(self) -> float:
        """The herd's tokens a second at the most streams, as a part of the bare server's without Ray beside it."""
        most = max(self.alone)
        return tokens_per_s(self.herd.own[most]) / tokens_per_s(self.alone[most])


def measure(folder: Path, sizes: Sizes, router: Path | None, say: Say) -> Measured:
    """Starts all, measures, stops all.

    Raises:
        CannotMeasure: one of them did not come up, or did not answer.
        OperationError: the herd did not.
    """
    with contextlib.ExitStack() as longer:
        with contextlib.ExitStack() as stack:
            herd = stack.enter_context(servers.herd(folder, say))
            bare = longer.enter_context(servers.bare(folder, say))
            served = {BARE: bare, HERD: herd}
            if router is not None:
                served[ROUTER] = stack.enter_context(live.vllm_router(router, [int(bare.rpartition(":")[2])], scale=1))
            _settle(served.values(), sizes, say)
            series = _rounds(served, sizes, say)
        alone = _rounds({BARE: bare}, sizes, lambda what: say(f"{what}, without Ray beside it"))
    beside = {name: Beside(series[BARE], own) for name, own in series.items()}
    return Measured(beside[HERD], beside.get(ROUTER), alone[BARE])


def _settle(served: Iterable[str], sizes: Sizes, say: Say) -> None:
    """What only the first requests pay is paid before it counts."""
    say("Warming up")
    most = max(sizes.requests)
    for url in served:
        load.run(Load(url, servers.MODEL, most, most, TOKENS, salt="warm"))


def _rounds(served: Mapping[str, str], sizes: Sizes, say: Say) -> dict[str, Series]:
    """Who goes first changes with every round; all are asked the same, in prompts too short to be cached."""
    series: dict[str, Series] = {name: {streams: [] for streams in sizes.requests} for name in served}
    for number in range(sizes.rounds):
        order = [*list(served)[number % len(served) :], *list(served)[: number % len(served)]]
        for streams, requests in sizes.requests.items():
            for name in order:
                say(f"Round {number + 1} of {sizes.rounds}, {streams} streams: {name}")
                time.sleep(QUIET_S)
                asked = Load(served[name], servers.MODEL, requests, streams, TOKENS, salt=str(number), ahead=True)
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
        "clients_went_ahead": all(one.ahead for outcomes in series.values() for one in outcomes),
    }
