"""Says where the exporters of nodes listen, which are no part of the herd."""

from pydantic import Field

from configs.strict import Strict


class Monitoring(Strict):
    """The exporters that run on every node. Gateways list them for Prometheus, beside the herd's own pages and Ray's."""

    node_exporter_port: int | None = Field(
        None, ge=1, le=65535, description="Prometheus' node exporter listens on this port of every node. Default: it is not listed."
    )
    dcgm_exporter_port: int | None = Field(
        None, ge=1, le=65535, description="NVIDIA's DCGM exporter listens on this port of every node with GPUs. Default: it is not listed."
    )
