"""Keeps a roster true while a gateway runs: finds the replicas of each model, and hears how each of them is."""

from configs.schema import LiveSettings
from deployments.gateway.replicas.load_feed import Feed
from deployments.gateway.replicas.watch import Watch


class Following:
    """Follows the replicas of a roster, from its making until `stop`."""

    def __init__(self, watch: Watch, feed: Feed) -> None:
        """Args:
        watch: finds the replicas of a model; it looks for them when the stream of one breaks.
        feed: hears how they are.
        """
        self._watch = watch
        self._feed = feed
        self._feed.listen(watch.look)
        self._watch.follow()

    def apply(self, wanted: LiveSettings) -> None:
        """Follows the models that the roster has now, as often as the config now says."""
        self._watch.change(wanted.roster_period_s)
        self._watch.follow()
        self._feed.change(wanted.load_period_s)

    @property
    def alive(self) -> bool:
        """Every loop still runs."""
        return self._watch.alive and self._feed.alive

    async def stop(self) -> None:
        """Ends every loop, and returns when they have ended."""
        await self._watch.stop()
        await self._feed.stop()
