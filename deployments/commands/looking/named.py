"""Finds the model that an operator names."""

from collections.abc import Sequence

from cluster.planner.engine_groups import pools
from configs.schema import Config, Model
from deployments.lifecycle.herd import OperationError


def of_config(config: Config, name: str, others: Sequence[str] = ()) -> Model:
    """Returns the model with this id or alias.

    Args:
        config: of the herd that is up.
        name: an id or an alias.
        others: further words that the operator could have said, for the message.

    Raises:
        OperationError: there is none.
    """
    found = pools(config.models)
    for model in found:
        if name == model.id or name in model.aliases:
            return model
    known = [*(model.id for model in found), *(alias for model in found for alias in model.aliases), *others]
    raise OperationError(f"No model is called '{name}' here. There are: {', '.join(dict.fromkeys(known))}.")
