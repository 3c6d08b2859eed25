"""The outcome of a simulation: how each request went, how many replicas there were, and what both come to."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cluster.scaling.work import Slo
from deployments.simulation import nearest_rank


class Change(NamedTuple):
    """How many replicas there were from a time on."""

    at_s: float
    target: int
    starting: int
    ready: int
    draining: int


class Decided(NamedTuple):
    """One line of the decision log: a rule's answer where it changed the target."""

    at_s: float
    before: int
    after: int
    reason: str


class Requests:
    """How each request went, by its number. What has not happened is infinite."""

    def __init__(self) -> None:
        self.at_s, self.first_s, self.end_s = array("d"), array("d"), array("d")
        """When it arrived; seconds from then to its first and its last token."""
        self.prompt_tokens, self.output_tokens, self.found_tokens = array("q"), array("q"), array("q")

    def __len__(self) -> int:
        return len(self.at_s)

    def arrived(self, at_s: float, prompt_tokens: int, output_tokens: int) -> int:
        """Takes a request; returns its number."""
        self.at_s.append(at_s)
        self.first_s.append(inf)
        self.end_s.append(inf)
        self.prompt_tokens.append(prompt_tokens)
        self.output_tokens.append(max(1, output_tokens))
        self.found_tokens.append(0)
        return len(self.at_s) - 1

    def answered(self, number: int, at_s: float, found_tokens: int) -> float:
        """Notes a first token; returns the seconds since the request arrived."""
        self.first_s[number] = first_s = at_s - self.at_s[number]
        self.found_tokens[number] = found_tokens
        return first_s

    def ended(self, number: int, at_s: float) -> float:
        """Notes a last token; returns the seconds between two tokens on average."""
        self.end_s[number] = end_s = at_s - self.at_s[number]
        return (end_s - self.first_s[number]) / max(1, self.output_tokens[number] - 1)


@dataclass(slots=True)
class Outcome:
    """All that a simulation says."""

    requests: Requests = field(default_factory=Requests)
    refused: int = 0
    moved: int = 0
    """Requests that went on at another replica because theirs died or had to go."""
    failed_starts: int = 0
    until_s: float = 0.0
    """The end of the time in which GPUs are counted."""
    gpu_s: float = 0.0
    gpus_per_replica: int = 1
    begun_with: int = 0
    """Replicas that were ready at the begin."""
    changes: list[Change] = field(default_factory=list)
    decided: list[Decided] = field(default_factory=list)

    @property
    def per_token_s(self) -> NDArray[np.float64]:
        """Seconds between tokens of each request, on average; infinite where it has not ended."""
        first, end = np.array(self.requests.first_s), np.array(self.requests.end_s)
        between = np.maximum(1, np.array(self.requests.output_tokens) - 1)
        return np.where(np.isinf(end), inf, np.subtract(end, first, where=np.isfinite(end), out=np.zeros_like(end)) / between)

    def kept(self, slo: Slo) -> NDArray[np.bool_]:
        """Returns for each request whether it has kept both objectives; one that was refused has not."""
        kept: NDArray[np.bool_] = (np.array(self.requests.first_s) <= slo.ttft_s) & (self.per_token_s <= slo.itl_s)
        return kept

    def attainment(self, slo: Slo) -> float:
        """Returns the share of requests that kept both objectives; 1 where there was none."""
        kept = self.kept(slo)
        return float(kept.mean()) if kept.size else 1.0

    def out_of_slo_s(self, slo: Slo, bin_s: float = 10.0) -> float:
        """Returns the seconds in which too few of the requests that arrived then kept both objectives, counted in whole bins."""
        bins = (np.array(self.requests.at_s) / bin_s).astype(np.int64)
        several = np.bincount(bins)
        missed = np.bincount(bins, weights=~self.kept(slo))
        return bin_s * float(np.count_nonzero(missed > (1 - slo.quantile) * several + 1e-9))

    @property
    def replicas(self) -> float:
        """Replicas that held GPUs, on average over the time."""
        return self.gpu_s / self.gpus_per_replica / self.until_s if self.until_s else 0.0

    @property
    def gpu_hours(self) -> float:
        """GPU hours held: those of starting, draining and idle replicas too."""
        return self.gpu_s / 3600

    @property
    def most(self) -> int:
        """The most replicas that held GPUs at a time."""
        return max((self.begun_with, *(one.starting + one.ready + one.draining for one in self.changes)))

    def figures(self, slo: Slo) -> dict[str, float]:
        """Returns the figures that a person compares."""
        return {
            "requests": len(self.requests),
            "attainment": self.attainment(slo),
            "out_of_slo_s": self.out_of_slo_s(slo),
            "refused": self.refused,
            "moved": self.moved,
            "replicas": self.replicas,
            "most_replicas": self.most,
            "gpu_hours": self.gpu_hours,
            "scale_events": len(self.decided),
            "failed_starts": self.failed_starts,
            **_quantiles("ttft", self.requests.first_s),
            **_quantiles("itl", self.per_token_s),
        }


def _quantiles(name: str, seconds: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    """Returns the quantiles of the values that are finite, by nearest rank; 0 where there is none."""
    told = np.sort(np.array(seconds)[np.isfinite(seconds)])
    ranks = {percent: nearest_rank.places(np.array(told.size), percent) for percent in (50, 90, 99)}
    return {f"{name}_p{percent}_s": float(told[rank]) if told.size else 0.0 for percent, rank in ranks.items()}
