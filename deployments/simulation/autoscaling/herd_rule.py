"""Production's own decision (`cluster.scaling.decide`) as a rule of the simulation: samples become its report."""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise

from cluster.scaling import observation as seen_by_decision
from cluster.scaling.decide import decide
from cluster.scaling.decision import Decision
from cluster.scaling.limits import Limits
from cluster.scaling.observation import Bucket, Report, Served, Start
from cluster.scaling.state import State
from cluster.scaling.work import Work
from deployments.simulation.autoscaling.observation import Lag, Observation, Sample
from deployments.simulation.autoscaling.rules import Wanted

#: How fast the usual answer follows those that end: about the last hundred count.
_FOLLOWING = 0.01
#: Decisions that are kept: more than a day of them.
_KEPT = 20_000


class HerdRule:
    """The rule that production runs. A report's buckets are the times between two samples."""

    def __init__(
        self, limits: Limits, output_tokens: float = 300.0, itl_s: float = 0.03, lag: Lag | None = None, begins_s: float = 0.0
    ) -> None:
        """Args:
        limits: of the model.
        output_tokens: of a usual answer, until some have ended.
        itl_s: seconds between two tokens of a usual answer, until some have ended.
        lag: how late the decision sees; reporters take samples every 5 s, and the decision looks as often.
        begins_s: the decision's time at the begin, in seconds since 1970 where there are schedules.
        """
        self.lag = lag or Lag(push_s=1.0)
        self.decisions: deque[tuple[seen_by_decision.Observation, float, Decision]] = deque(maxlen=_KEPT)
        """The last observations, each with its time and the decision: a log that can be replayed."""
        self._limits = limits
        self._state = State()
        self._begins_s = begins_s
        self._output_tokens, self._itl_s = output_tokens, itl_s
        self._taken_s = -1.0
        self._arrivals: list[Bucket] = []
        self._served: list[Served] = []

    def wanted(self, seen: Observation) -> Wanted:
        """Returns what the decision says."""
        self._take(seen.samples)
        now_s = self._begins_s + seen.now_s
        observation = seen_by_decision.Observation(
            seen.target,
            seen.ready,
            tuple(Start(self._begins_s + begun_s, failures) for begun_s, failures in seen.starting),
            seen.draining,
            report=self._report(seen) if seen.samples else None,
        )
        decision = decide(observation, self._limits, self._state, now_s)
        self._state = decision.state
        self.decisions.append((observation, now_s, decision))
        return Wanted(decision.target, decision.reason)

    def _take(self, samples: Sequence[Sample]) -> None:
        """Makes buckets of the samples that are new."""
        begin = next((number for number, one in enumerate(samples) if one.at_s > self._taken_s), len(samples))
        for before, after in pairwise(samples[max(0, begin - 1) :]):
            self._learn(after)
            seconds = after.at_s - before.at_s
            work = self._work(after.arrived, max(0, after.prompt_tokens - after.found_tokens), after.prompt_tokens)
            begun_s = self._begins_s + before.at_s
            self._arrivals.append(Bucket(begun_s, seconds, after.arrived, work, after.found_tokens, after.squared_tokens))
            self._served.extend(_under_backlog(before, after, self._begins_s))
            self._taken_s = after.at_s
        forgotten_s = self._begins_s + self._taken_s - self.lag.keep_s
        self._arrivals = [one for one in self._arrivals if one.begun_s >= forgotten_s]
        self._served = [one for one in self._served if one.ended_s >= forgotten_s]

    def _learn(self, sample: Sample) -> None:
        """Follows the length and the pace of the answers that end."""
        if not sample.ended:
            return
        part = 1 - (1 - _FOLLOWING) ** sample.ended
        self._output_tokens += part * (sample.output_tokens / sample.ended - self._output_tokens)
        self._itl_s += part * (sum(sample.per_token_s) / sample.ended - self._itl_s)

    def _work(self, requests: int, uncached_tokens: float, prompt_tokens: float) -> Work:
        """Returns what requests ask for whose answers have not ended: usual answers."""
        output = self._output_tokens
        held_s = output * self._itl_s
        return Work(uncached_tokens, requests * output, (prompt_tokens + requests * output / 2) * held_s)

    def _report(self, seen: Observation) -> Report:
        last = seen.samples[-1]
        waiting = last.line + sum(one.waiting for one in last.replicas)
        wait_tokens = last.line_tokens + sum(one.wait_tokens for one in last.replicas)
        return Report(
            self._begins_s + last.at_s,
            tuple(self._arrivals),
            self._work(waiting, wait_tokens, wait_tokens),
            waiting,
            sum(one.running for one in last.replicas),
            seen.start_times_s,
            tuple(self._served),
        )


def _under_backlog(before: Sample, after: Sample, begins_s: float) -> Iterable[Served]:
    """Yields the work that replicas did while requests waited in the gateway in both samples; production's gateways tell no other.

    Requests that wait in an engine at two moments may have waited a moment each: the engine was not full all the while.
    """
    old = {one.name: one for one in before.replicas}
    both = [(old[one.name], one) for one in after.replicas if one.name in old]
    if both and before.line and after.line:
        done = Work(
            sum(one.prefilled_tokens - then.prefilled_tokens for then, one in both),
            sum(one.decoded_tokens - then.decoded_tokens for then, one in both),
        )
        seconds = len(both) * (after.at_s - before.at_s)
        between = sorted(after.per_token_s)
        itl_s = between[len(between) * 9 // 10] if between else 0.0
        yield Served(begins_s + after.at_s, seconds, done, min(one.ready_s for _, one in both), itl_s)
