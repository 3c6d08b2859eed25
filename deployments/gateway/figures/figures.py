"""All figures that a gateway shows beside those of its requests: made, told a changed config, asked and stopped together.

Decides nothing.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from configs.gateway_config import GatewayConfig
from configs.scaling import Slo
from deployments.gateway.figures.cluster_figures import ClusterFigures, ReadCluster
from deployments.gateway.figures.own_process import OwnProcess
from deployments.gateway.replicas.roster import Roster
from deployments.policy.monitoring import targets
from monitoring.export import Meter

Gateways = Callable[[], Awaitable[Sequence[Mapping[str, Any]]]]
"""Where each gateway shows its metrics: `host`, `port` and `node`."""


class Figures:
    """The figures of one gateway. It needs a running event loop."""

    def __init__(self, config: GatewayConfig, roster: Roster, meter: Meter, gateways: Gateways, read: ReadCluster | None) -> None:
        """Args:
        config: the config.
        roster: the replicas that this gateway knows.
        meter: shows the figures.
        gateways: asks all gateways for their addresses.
        read: reads the cluster, in a thread; None: there is none to read.
        """
        self._roster, self._gateways, self._meter = roster, gateways, meter
        self._own = OwnProcess(meter)
        self._cluster = ClusterFigures(read, roster, meter)
        self.apply(config)

    def apply(self, config: GatewayConfig) -> None:
        """The config has changed."""
        self._config = config
        self._meter.promises({model.id: model.slo or Slo() for model in config.models})

    @property
    def alive(self) -> bool:
        """All of it still measures."""
        return self._own.alive and self._cluster.alive

    def show(self) -> None:
        """Shows what is known now."""
        self._own.show()
        self._cluster.show()

    async def targets(self, engine_labels: Mapping[str, str]) -> list[targets.Group]:
        """Returns every page of metrics that Prometheus should ask.

        Args:
            engine_labels: labels by which Prometheus asks engines as they want to be asked.
        """
        engines = (one for model in self._roster.models for one in self._roster.replicas(model))
        herd = targets.Herd(self._config.name, self._config.monitoring, engine_labels)
        return targets.groups(herd, engines, await self._gateways(), self._cluster.nodes)

    async def stop(self) -> None:
        """Measures no more."""
        await self._own.stop()
        await self._cluster.stop()
