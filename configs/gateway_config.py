"""Makes the part of a herd's config that running gateways are told.

A section that is not a field here cannot be read by a gateway, so leaving one out is an error of types where it is used. The settings of
`Listening` and `Site` are not here: a process is told them once, when it starts, and a change of them makes new processes.
"""

from configs.inventory import Cloud
from configs.monitoring import Monitoring
from configs.schema import Config, LiveSettings, Model, Name
from configs.strict import Strict


class GatewayConfig(Strict):
    """Holds all that every gateway is told when it starts, and again at each change. No change of it makes a new process."""

    name: Name = "herd"
    """The herd's, for the label `cluster` of what Prometheus asks."""
    gateway: LiveSettings = LiveSettings()
    monitoring: Monitoring = Monitoring()
    models: tuple[Model, ...]
    cloud: Cloud | None = None
    """The cloud whose machines these are: it may take them away, and says so before."""


def gateway_config(config: Config) -> GatewayConfig:
    """Returns what gateways are told of a herd's config. Of its machines that is the cloud's name only."""
    live = {name: getattr(config.gateway, name) for name in LiveSettings.model_fields}
    cloud = None if config.cluster is None else config.cluster.cloud
    return GatewayConfig(name=config.name, gateway=LiveSettings(**live), monitoring=config.monitoring, models=config.models, cloud=cloud)
