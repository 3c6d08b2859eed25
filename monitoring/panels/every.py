"""All dashboards. A further one, as on safety or on tenants, is a file beside these and a name here."""

from monitoring.panels.gang import GANG
from monitoring.panels.gateway import GATEWAYS
from monitoring.panels.gpu_nodes import GPU_NODES
from monitoring.panels.model import MODELS
from monitoring.panels.overview import OVERVIEW
from monitoring.panels.rows import Dashboard
from monitoring.panels.scaling import SCALING
from monitoring.panels.upgrades import UPGRADES

DASHBOARDS: tuple[Dashboard, ...] = (OVERVIEW, MODELS, GATEWAYS, SCALING, GANG, GPU_NODES, UPGRADES)
