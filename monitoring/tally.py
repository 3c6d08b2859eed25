"""Requests that have ended, counted many at once.

Decides which metrics a request moves. Nearly all requests of a batch are alike: one replica answered, and nothing went wrong. These are
counted together, by model, endpoint and reason of the pick, and each other one by itself; the sums are the same.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from monitoring.ended import Ended
from monitoring.export import Meter, Promise
from monitoring.labels import Outcome

if TYPE_CHECKING:
    from monitoring.journal import Trial

#: In Python 3.11 a member of an enum takes longer to look up than to count.
_OK, _CANCELLED = Outcome.OK, Outcome.CANCELLED
#: Outcomes that keep the promise to be available: the herd answered, or the request's own fault or its client's leave kept it from that.
AVAILABLE = frozenset({Outcome.OK, Outcome.CLIENT_ERROR, Outcome.CANCELLED})
#: Outcomes in which the herd did not answer as it should.
FAILED = frozenset(Outcome) - AVAILABLE
#: Codes of errors that a client is told after the pipeline has let go of its request.
_CODES = {Outcome.INTERNAL_ERROR: "internal_error", Outcome.UNAVAILABLE: "engine_unavailable"}

Alike = tuple[str, str, str]
"""Model, endpoint and reason of the pick: requests with the same three are counted together."""


def sorted_out(batch: Sequence[Ended]) -> tuple[dict[Alike, list[Ended]], list[Ended]]:
    """Returns those that can be counted together, by what they have in common, and the others."""
    alike: dict[Alike, list[Ended]] = {}
    others: list[Ended] = []
    for ended in batch:
        entry = ended.entry
        trials, model = entry.trials, entry.model
        if ended.outcome is _OK and len(trials) == 1:
            trial, served = trials[0], ended.served
            if (
                len(trial.picks) == 1
                and not trial.retries
                and trial.prefilled_by is None
                and trial.model == model
                and (served is None or served.model == model)
            ):
                key = model, entry.endpoint, trial.picks[0]
                group = alike.get(key)
                if group is None:
                    alike[key] = [ended]
                else:
                    group.append(ended)
                continue
        others.append(ended)
    return alike, others


class Tally:
    """Counts the requests of one gateway that have ended."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def add_alike(self, of: Alike, group: Sequence[Ended]) -> None:
        """Counts requests that were answered by the only replica that was asked, which was the model's that they name."""
        meter, (model, endpoint, reason) = self._meter, of
        meter.picked(model, reason, len(group))
        meter.ended(model, endpoint, _OK, *[ended.now_s - ended.entry.arrived_s for ended in group])
        promise = meter.promise(model)
        if promise is not None:
            meter.slo_requests[promise.available] += len(group)
        prompt = completion = cached = hit = miss = stated = 0
        for ended in group:
            trial = ended.entry.trials[0]
            if trial.usage is not None:
                stated += 1
                prompt += trial.usage[0]
                completion += trial.usage[1]
                cached += trial.cached_tokens
            hit += trial.hit_tokens
            miss += trial.miss_tokens
            if trial.times:
                meter.streamed(model, ended.entry.arrived_s, trial.times)
                if promise is not None:
                    self._judge_speed(ended.entry.arrived_s, promise, trial)
        if stated:
            meter.used(model, prompt, completion, cached)
        if hit or miss:
            meter.expected(model, hit, miss)

    def add(self, ended: Ended) -> None:
        """Counts any request."""
        meter, entry, outcome, served = self._meter, ended.entry, ended.outcome, ended.served
        meter.ended(entry.model, entry.endpoint, outcome, ended.now_s - entry.arrived_s)
        if outcome is not _OK and not ended.refusal_counted:
            self._refuse(ended)
        begun = None
        for trial in entry.trials:
            if trial.times:
                begun = trial
            self._add_trial(ended, trial)
        if (promise := meter.promise(entry.model)) is not None:
            self._judge(ended, promise, begun)
        if served is not None and served.model != entry.model:
            meter.fell_back(entry.model, served.model)

    def _add_trial(self, ended: Ended, trial: "Trial") -> None:
        """Counts one model's part in a request."""
        meter = self._meter
        for reason in trial.picks:
            meter.picked(trial.model, reason)
        for kind in trial.retries:
            meter.retried(trial.model, kind)
        if trial.prefilled_by is not None:
            meter.prefilled(trial.model, trial.prefilled_by)
        if trial.times:
            meter.streamed(trial.model, ended.entry.arrived_s, trial.times)
        if trial.usage is not None:
            meter.used(trial.model, *trial.usage, trial.cached_tokens)
        if trial.hit_tokens or trial.miss_tokens:
            meter.expected(trial.model, trial.hit_tokens, trial.miss_tokens)

    def _refuse(self, ended: Ended) -> None:
        """Counts the error that a client was told, if it was told one."""
        code = ended.entry.code if ended.entry.code is not None else _CODES.get(ended.outcome)
        if code is not None:
            self._meter.refused(code or None)

    def _judge(self, ended: Ended, promise: Promise, begun: "Trial | None") -> None:
        """Counts a request against the objectives of the model that it names, whichever model answered.

        An answer that has not begun says nothing of its speed, unless its client has waited too long for it and has gone. An objective of
        speed is met or not by what a client was shown, however the answer ended: availability tells that.

        Args:
            ended: the request.
            promise: the objectives.
            begun: the part of the model whose streamed answer the client has seen; None where there is none.
        """
        count, entry = self._meter.slo_requests, ended.entry
        count[promise.available if ended.outcome in AVAILABLE else promise.not_available] += 1
        if begun is not None:
            self._judge_speed(entry.arrived_s, promise, begun)
        elif ended.outcome is _CANCELLED and entry.streams and ended.now_s - entry.arrived_s > promise.ttft_s:
            count[promise.begun_late] += 1

    def _judge_speed(self, arrived_s: float, promise: Promise, begun: "Trial") -> None:
        """Counts a streamed answer against the objectives of speed."""
        count, times, usage = self._meter.slo_requests, begun.times, begun.usage
        first_s = times[0]
        count[promise.begun_in_time if first_s - arrived_s <= promise.ttft_s else promise.begun_late] += 1
        # A piece may hold several tokens, and where the engine states how many there were, the mean is over these.
        steps = len(times) - 1
        if usage is not None and usage[1] - 1 > steps:
            steps = usage[1] - 1
        if steps:
            count[promise.fast if times[-1] - first_s <= promise.itl_s * steps else promise.slow] += 1
