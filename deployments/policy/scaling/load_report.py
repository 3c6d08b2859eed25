"""The report that the decision looks at, made of the gateways' records.

Decides which gateways are believed, and how much a request weighs. Where the planner knows an engine's pace, a request weighs tokens: its
prompt less what prefix caches have, its answer, and the KV cache that it holds. Elsewhere it weighs the time that it stays at a replica, so
that by Little's law the work of a second is the number of requests in flight, which `target_ongoing_requests` of one replica carry.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cluster.scaling.observation import Report
from cluster.scaling.work import NO_WORK, Work
from deployments.policy.queue.load_record import BUCKET_S, LoadRecord, Usual
from deployments.policy.scaling.load_history import History, advanced, newest

Unit = Literal["tokens", "requests"]
#: A gateway tells every 2 s. After so many seconds without a word it is missing, and after so many it is forgotten.
SILENT_S, FORGOTTEN_S = 10.0, 60.0
#: Tokens of an answer, and seconds at a replica, before the first request has ended.
ANSWER_TOKENS, DWELL_S = 256.0, 10.0


@dataclass(frozen=True, slots=True)
class Weights:
    """The weight of requests now."""

    unit: Unit
    usual: Usual
    hit_share: float
    share: float = 1.0
    """Of `target_ongoing_requests` that a request takes: more than one's where a replica runs fewer at once than the target."""

    def weighed(self, requests: float, prompt_tokens: float) -> tuple[Work, float]:
        """Returns the work of so many requests with prompts of so many tokens in all, as estimated; and tokens that caches have."""
        if self.unit == "requests":
            return Work(kv_token_s=requests * self.usual.dwell_s * self.share), 0.0
        prompts = prompt_tokens * self.usual.token_ratio
        answers = requests * self.usual.answer_tokens
        missed = prompts * (1 - self.hit_share)
        # On average, half of an answer is in the cache while it is made.
        return Work(missed, answers, (prompts + answers / 2) * self.usual.dwell_s), prompts - missed


def weights(records: Sequence[LoadRecord], unit: Unit, target_ongoing: float) -> Weights:
    """Returns the weight of requests, by the ended ones that all gateways remember."""
    known = sum(record.usual.requests for record in records)
    engines = newest(records).engines
    room = engines.room or target_ongoing
    share = max(1.0, target_ongoing / room)
    if not known:
        return Weights(unit, Usual(0.0, ANSWER_TOKENS, DWELL_S), engines.hit_share, share)
    parts = [(record.usual, record.usual.requests / known) for record in records]
    usual = Usual(
        known,
        sum(one.answer_tokens * part for one, part in parts),
        sum(one.dwell_s * part for one, part in parts),
        sum(one.token_ratio * part for one, part in parts),
    )
    return Weights(unit, usual, engines.hit_share, share)


def report(
    history: History, records: Sequence[LoadRecord], unit: Unit, target_ongoing: float, start_times_s: tuple[float, ...], now_s: float
) -> tuple[History, Report | None]:
    """Returns the history with what is new, and the report; None where no gateway has told anything lately.

    Args:
        history: as it was.
        records: of all gateways that are not forgotten.
        unit: in which requests are weighed.
        target_ongoing: requests that a replica should carry.
        start_times_s: seconds that recent starts took.
        now_s: the time.
    """
    if not records:
        return history, None
    alive = [record for record in records if now_s - record.at_s <= SILENT_S]
    weighing = weights(alive or records, unit, target_ongoing)
    history = advanced(history, records, alive, weighing.weighed, now_s)
    engines, own = newest(records).engines, newest(records).release
    # Inside engines, tokens are as they count them themselves: no estimate that the ratio must correct.
    inside = engines.prefill_tokens / weighing.usual.token_ratio if engines.waiting else 0.0
    in_line, running = sum(record.waiting for record in alive), float(sum(record.running for record in alive))
    waiting = float(in_line + engines.waiting)
    backlog, _ = weighing.weighed(waiting, sum(record.waiting_tokens for record in alive) + inside)
    found = Report(
        taken_s=newest(records).at_s,
        arrivals=history.arrivals,
        backlog=backlog,
        waiting_requests=waiting,
        running_requests=running,
        in_flight=Work(kv_token_s=(in_line + running) * weighing.share) if _tells_too_little(alive, weighing, now_s) else NO_WORK,
        start_times_s=start_times_s,
        served=history.served if unit == "tokens" else (),
        release=next((record.release for record in alive if record.release != own), own),
        missing=len(records) - len(alive),
    )
    return history, found


def _tells_too_little(records: Sequence[LoadRecord], weighing: Weights, now_s: float) -> bool:
    """Returns whether arrivals may say too little of a load in requests in flight: some waited through a whole bucket, and not longer ago
    than an answer takes. Clients that ask again when they are answered have sent their next requests only when answers have ended since."""
    since_s = now_s - weighing.usual.dwell_s - 2 * BUCKET_S
    return weighing.unit == "requests" and any(
        one.waited and one.number * BUCKET_S >= since_s for record in records for one in record.buckets
    )
