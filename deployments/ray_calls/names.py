"""Names of a herd's Ray Serve applications and deployments, for whoever deploys them and whoever calls them."""

from configs.names import Accelerator

ENGINE = "engine"
GATEWAY = "gateway"


def app_name(model: str) -> str:
    """The Serve application of a model; `~` stands in no model's id, so two models never share one."""
    return f"model.{model.replace('/', '~')}"


def accelerator_type(accelerator: Accelerator) -> str:
    """Returns Ray's name of a kind of GPU, as nodes' resources and `LLMConfig.accelerator_type` have it; AMD's name their board."""
    return {"MI300X": "AMD-Instinct-MI300X-OAM"}.get(accelerator, accelerator)
