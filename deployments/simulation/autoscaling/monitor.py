"""Collects samples of a simulated cluster, and shows a rule those that it can see by now."""

from collections import deque

from deployments.simulation.autoscaling.observation import Lag, Observation, ReplicaSample, Sample
from deployments.simulation.fleet import Fleet, Member

#: Starts whose times a rule is shown.
_STARTS = 16


class Monitor:
    """Counts of all that has happened since the last sample, and the samples."""

    def __init__(self, lag: Lag, outages: tuple[tuple[float, float], ...] = ()) -> None:
        """Args:
        lag: of the rule.
        outages: from when to when no sample is taken.
        """
        self._lag = lag
        self._outages = outages
        self._samples: deque[Sample] = deque()
        self._visible: list[Sample] = []
        self._clear()

    def _clear(self) -> None:
        self._arrived = self._refused = self._prompt_tokens = self._found_tokens = self._output_tokens = self._ended = 0
        self._squared_tokens = 0
        self._ttft_s: list[float] = []
        self._per_token_s: list[float] = []

    def arrived(self, prompt_tokens: int) -> None:
        """Counts a new request."""
        self._arrived += 1
        self._prompt_tokens += prompt_tokens
        self._squared_tokens += prompt_tokens * prompt_tokens

    def refused(self) -> None:
        """Counts a refusal."""
        self._refused += 1

    def answered(self, ttft_s: float, found_tokens: int) -> None:
        """Counts a first token, so many seconds after its request arrived, and prompt tokens that the prefix cache had."""
        self._ttft_s.append(ttft_s)
        self._found_tokens += found_tokens

    def ended(self, output_tokens: int, per_token_s: float) -> None:
        """Counts the end of an answer."""
        self._ended += 1
        self._output_tokens += output_tokens
        self._per_token_s.append(per_token_s)

    def sample(self, fleet: Fleet, line: int, line_tokens: int, now_s: float) -> None:
        """Takes a sample, unless metrics are out."""
        if any(begin_s <= now_s < end_s for begin_s, end_s in self._outages):
            return
        replicas = [_said(member, now_s) for group in (fleet.ready, fleet.draining) for member in group.values()]
        self._samples.append(
            Sample(
                now_s,
                self._arrived,
                self._refused,
                self._prompt_tokens,
                self._found_tokens,
                self._output_tokens,
                self._ended,
                tuple(self._ttft_s),
                tuple(self._per_token_s),
                line,
                line_tokens,
                tuple(replicas),
                self._squared_tokens,
            )
        )
        self._clear()

    def seen(self, fleet: Fleet, now_s: float) -> Observation:
        """Returns what a rule sees now."""
        while self._samples and self._samples[0].at_s + self._lag.push_s <= now_s:
            self._visible.append(self._samples.popleft())
        while len(self._visible) > 1 and self._visible[0].at_s < now_s - self._lag.keep_s:
            del self._visible[0]
        starting = tuple((member.asked_s, member.failures) for member in fleet.starting.values())
        return Observation(
            now_s,
            fleet.target,
            len(fleet.ready),
            starting,
            len(fleet.draining),
            tuple(fleet.start_times_s[-_STARTS:]),
            self._visible,
        )


def _said(member: Member, now_s: float) -> ReplicaSample:
    member.engine.catch_up(now_s)
    own = member.engine.scheduler
    wait_tokens = sum(request.prompt_tokens for request in own.waiting)
    return ReplicaSample(
        member.name,
        own.running,
        len(own.waiting),
        own.pool.usage,
        now_s - member.since_s,
        own.computed_tokens,
        own.made_tokens,
        wait_tokens,
    )
