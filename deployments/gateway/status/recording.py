"""Writes down, once a minute, what this gateway's counters have counted of each model: the last hour for the status page.

Decides when a minute is over. A request costs nothing here: its counters are read once a minute.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable

import structlog

from deployments.gateway.replicas.loops import end
from deployments.gateway.replicas.roster import Roster
from deployments.policy.records import history
from deployments.policy.records.history import History, Minute, Now, Totals
from monitoring.export import Meter
from monitoring.labels import Outcome
from monitoring.metrics import ITL, REQUESTS, TOKENS, TTFT, Metric
from monitoring.tally import FAILED

MINUTE_S = 60.0


class Recording:
    """The last hour of this gateway, from its making until `stop`."""

    def __init__(
        self,
        meter: Meter,
        roster: Roster,
        waiting: Callable[[str], int],
        minute_s: float = MINUTE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Args:
        meter: has the counters.
        roster: has the models and their replicas.
        waiting: counts the requests of a model that wait here.
        minute_s: how long a minute is.
        clock: seconds since 1970.
        """
        self._meter, self._roster, self._waiting = meter, roster, waiting
        self._minute_s, self._clock = minute_s, clock
        self._kept: dict[str, tuple[Minute, ...]] = {}
        self._before = totals(meter)
        self._log = structlog.get_logger("herd.history")
        self._task = asyncio.get_running_loop().create_task(self._loop())

    @property
    def history(self) -> History:
        """Returns the minutes that are over, by model."""
        return self._kept

    async def stop(self) -> None:
        """Writes down no more."""
        await end((self._task,))

    async def _loop(self) -> None:
        while True:
            at, gone_s = divmod(self._clock(), self._minute_s)
            await asyncio.sleep(self._minute_s - gone_s)
            try:
                self._note(int(at))
            except Exception as error:  # noqa: BLE001 (a loop beside requests: whatever went wrong, it must write down the next minute)
                self._log.warning("minute_not_kept", error=type(error).__name__)

    def _note(self, at: int) -> None:
        before, now = self._before, totals(self._meter)
        self._before = now
        self._kept = {model: history.kept(self._kept.get(model, ()), self._minute(model, at, before, now)) for model in self._roster.models}

    def _minute(self, model: str, at: int, before: dict[str, Totals], now: dict[str, Totals]) -> Minute:
        counted = history.counted(before.get(model, Totals()), now.get(model, Totals()))
        ongoing = sum(replica.ongoing for replica in self._roster.replicas(model))
        return Minute(at, counted, Now(self._waiting(model), ongoing, self._roster.ready(model)))


def totals(meter: Meter) -> dict[str, Totals]:
    """Returns all that a gateway has counted until now, by model."""
    requests, failed, tokens = _requests(meter), _requests(meter, FAILED), _tokens(meter)
    ttft, itl = _buckets(meter, TTFT), _buckets(meter, ITL)
    return {
        model: Totals(
            count,
            failed.get(model, 0),
            tokens.get((model, "prompt"), 0),
            tokens.get((model, "completion"), 0),
            ttft.get(model, ()),
            itl.get(model, ()),
        )
        for model, count in requests.items()
    }


def _requests(meter: Meter, outcomes: frozenset[str] = frozenset(Outcome)) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for sample in meter.family(REQUESTS).samples:
        if sample.labels["outcome"] in outcomes:
            found[sample.labels["model"]] += int(sample.value)
    return found


def _tokens(meter: Meter) -> dict[tuple[str, str], int]:
    return {(one.labels["model"], one.labels["kind"]): int(one.value) for one in meter.family(TOKENS).samples}


def _buckets(meter: Meter, metric: Metric) -> dict[str, tuple[int, ...]]:
    """Returns a histogram's counts by model, not cumulative; the last ones are beyond all bounds."""
    sums: dict[str, list[int]] = defaultdict(list)
    for sample in meter.family(metric).samples:
        if sample.name.endswith("_bucket"):
            sums[sample.labels["model"]].append(int(sample.value))
    return {model: tuple(one - before for before, one in zip((0, *counts), counts, strict=False)) for model, counts in sums.items()}
