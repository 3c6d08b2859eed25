"""Notices replicas that are gone, for the herd's events.

Decides when one is: Ray has not named it for a few periods. A replica that answers late is left out once and is there again. One that has
said itself that it stops is gone, too; whoever keeps the events knows of that.
"""

from collections.abc import Callable, Iterable, Mapping

from deployments.policy.routing.types import ReplicaView

GONE_S = 5.0


class Departures:
    """The replicas that have been missing lately."""

    def __init__(self, on_gone: Callable[[ReplicaView], None]) -> None:
        """Args:
        on_gone: told of each replica that is gone.
        """
        self._on_gone = on_gone
        self._missing: dict[str, tuple[ReplicaView, float]] = {}

    def seen(self, model: str, before: Mapping[str, ReplicaView], now: Iterable[str], at_s: float) -> None:
        """Compares what Ray names with what it named before.

        Args:
            model: whose replicas these are.
            before: the replicas that were known, by their id.
            now: ids that Ray names now.
            at_s: the caller's clock, in seconds.
        """
        there = set(now)
        for name, view in before.items():
            if name not in there:
                self._missing.setdefault(name, (view, at_s))
        for name, (view, since_s) in tuple(self._missing.items()):
            if name in there:
                del self._missing[name]
            elif view.model == model and at_s - since_s >= GONE_S:
                del self._missing[name]
                self._on_gone(view)
