"""How long a model is away, when no replica of it takes requests.

Decides what a client is told to wait: as long as it took the last time, less what has passed already.
"""

from dataclasses import dataclass
from math import ceil

#: What a client is told to wait where nothing is known, or what was known has not come true.
RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class Absence:
    """The coming and going of one model's replicas."""

    ever_ready: bool = False
    gone_at: float | None = None
    """When its last replica went, by the caller's clock; None while one takes requests, and before the first did."""
    takes_s: float = 0.0
    """How long it takes to be back; 0 where nobody knows."""

    def after(self, is_ready: bool, start_s: float, now: float, on_demand: bool = False) -> "Absence":
        """Returns what is known after news. A replica that was only doubted for a moment says nothing of how long a start takes.

        Args:
            is_ready: whether a replica takes requests now.
            start_s: the longest start of those that the news are of: of all replicas where the model is back.
            now: the time.
            on_demand: the model may be away because nobody asks for it, so that only starts tell how long it takes to be back.
        """
        if not is_ready:
            gone_at = now if self.ever_ready and self.gone_at is None else self.gone_at
            return Absence(self.ever_ready, gone_at, max(self.takes_s, start_s))
        if self.ever_ready and self.gone_at is None and start_s <= self.takes_s:
            return self
        return Absence(True, None, max(self._was_away_s(start_s, now, on_demand), start_s))

    def _was_away_s(self, start_s: float, now: float, on_demand: bool) -> float:
        if self.gone_at is None or (on_demand and not start_s):
            return self.takes_s
        return 0.0 if on_demand else now - self.gone_at

    def retry_after_s(self, now: float) -> int:
        """Whole seconds until it is back, as far as is known; at least one."""
        left_s = 0.0 if self.gone_at is None else self.takes_s - (now - self.gone_at)
        return ceil(left_s) if left_s > 0 else RETRY_AFTER_S


#: Of a model that no replica has served yet.
NEVER = Absence()
