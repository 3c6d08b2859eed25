"""Names of a herd's Ray Serve applications and deployments, for whoever deploys them and whoever calls them."""

ENGINE = "engine"
GATEWAY = "gateway"


def app_name(model: str) -> str:
    """The Serve application of a model; `~` stands in no model's id, so two models never share one."""
    return f"model.{model.replace('/', '~')}"
