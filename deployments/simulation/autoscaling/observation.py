"""The observation of a rule: the cluster as it can be seen, and how late.

A rule never sees the cluster as it is. Its metrics are sampled, then pushed or scraped, then looked at every so often; where metrics are
lost for a while, the last ones stay. Numbers of replicas come from the controller itself and are those of now.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Lag:
    """How late a rule sees and acts."""

    sample_s: float = 5.0
    """Between two samples of the metrics."""
    push_s: float = 0.0
    """From a sample until the rule can see it."""
    sync_s: float = 5.0
    """Between two decisions."""
    keep_s: float = 600.0
    """Samples older than this are forgotten."""


class ReplicaSample(NamedTuple):
    """The words of one ready or draining replica."""

    name: str
    running: int
    waiting: int
    kv_usage: float
    """Share of its KV cache that running requests hold."""
    ready_s: float
    """Seconds since it was ready."""
    prefilled_tokens: int
    """Prompt tokens that it has computed, ever."""
    decoded_tokens: int
    """Answer tokens that it has made, ever."""
    wait_tokens: int
    """Prompt tokens of requests that wait in it."""


class Sample(NamedTuple):
    """The metrics of one moment, and what has happened since the sample before."""

    at_s: float
    arrived: int
    """New requests; those that were refused are of them."""
    refused: int
    prompt_tokens: int
    """Of the new requests."""
    found_tokens: int
    """Of prompts that have begun since: those that the prefix cache had."""
    output_tokens: int
    """Of the answers that have ended since."""
    ended: int
    ttft_s: tuple[float, ...]
    """Seconds to the first token, of each answer that has begun since."""
    per_token_s: tuple[float, ...]
    """Seconds between tokens, of each answer that has ended since."""
    line: int
    """Requests that wait in the gateway."""
    line_tokens: int
    """Tokens of their prompts."""
    replicas: tuple[ReplicaSample, ...]
    squared_tokens: int = 0
    """The squares of the lengths of the new requests' prompts, added up."""


class Observation(NamedTuple):
    """The cluster as a rule sees it when it decides."""

    now_s: float
    target: int
    """Replicas that there should be, by the last decision."""
    ready: int
    starting: tuple[tuple[float, int], ...]
    """Of each replica that starts: when its first attempt began, and how many have failed."""
    draining: int
    start_times_s: tuple[float, ...]
    """Seconds that the last starts took."""
    samples: Sequence[Sample]
    """Those that the rule can see by now, oldest first; none before the first."""

    def last(self, seconds: float) -> Sequence[Sample]:
        """Returns the samples of the last so many seconds; at least the newest, however old it is."""
        samples = self.samples
        begin = len(samples) - 1
        while begin > 0 and samples[begin - 1].at_s > self.now_s - seconds:
            begin -= 1
        return samples[max(0, begin) :]
