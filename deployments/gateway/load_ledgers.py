"""The ledgers of a gateway's models: counts each request on its way.

Decides which requests count. `deployments.policy.queue.ledger` decides how long a count is kept.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployments.gateway.admission import Place
from deployments.gateway.request import Asked
from deployments.policy.errors.client_errors import Overloaded
from deployments.policy.queue.ledger import Answered, Ledger
from deployments.policy.queue.load_record import EngineLoads, LoadRecord
from deployments.policy.request.calls import COUNTED


class Ledgers:
    """Counts the requests of one gateway, by model."""

    def __init__(self, clock: Callable[[], float] = time.time, since: Callable[[], float] = time.monotonic) -> None:
        """Args:
        clock: seconds since 1970, by which gateways agree on buckets.
        since: the clock of the places at replicas.
        """
        self._clock = clock
        self._since = since
        self._ledgers: dict[str, Ledger] = {}

    def arrived(self, asked: Asked) -> None:
        """Counts a request for a model."""
        if asked.call.endpoint in COUNTED:
            self._of(asked.chosen.model.id).arrived(asked.tokens, asked.raw, self._clock())

    def refused(self, asked: Asked, error: Overloaded) -> None:
        """Remembers a request that is refused because all replicas are full."""
        if asked.call.endpoint in COUNTED:
            self._of(asked.chosen.model.id).refused(asked.raw, self._clock(), error.retry_after_s or 0)

    @contextmanager
    def waiting(self, asked: Asked) -> Iterator[None]:
        """Counts a request as waiting while this lasts."""
        ledger, tokens = self._of(asked.chosen.model.id), asked.tokens
        ledger.waits(tokens, self._clock())
        try:
            yield
        finally:
            ledger.waited(tokens, self._clock())

    def answered(self, asked: Asked, place: Place) -> None:
        """Counts a request whose answer has ended. A stream whose engine has stated no usage has a token in each piece."""
        if asked.call.endpoint not in COUNTED:
            return
        times = asked.trial.times
        prompt_tokens, answer_tokens = asked.trial.usage or (None, len(times))
        itl_s = (times[-1] - times[0]) / max(1, answer_tokens - 1) if len(times) > 1 else 0.0
        end = Answered(asked.tokens, prompt_tokens, answer_tokens, self._since() - place.since_s, itl_s)
        self._of(asked.chosen.model.id).answered(end, self._clock())

    def record(self, model: str, by: tuple[str, str], standing: tuple[int, int], engines: EngineLoads) -> LoadRecord:
        """Returns what the gateway tells of a model now.

        Args:
            model: its id.
            by: the gateway's name, and its release.
            standing: requests that wait or were refused a moment ago, and requests at replicas.
            engines: the model's replicas as they report themselves.
        """
        return self._of(model).record(*by, standing, engines, self._clock())

    def _of(self, model: str) -> Ledger:
        ledger = self._ledgers.get(model)
        if ledger is None:
            ledger = self._ledgers[model] = Ledger(self._clock())
        return ledger
