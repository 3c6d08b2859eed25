"""How every model of a herd is doing, and why one waits for a place. Needs a connection to Ray; gateways are asked by the caller.

Decides nothing: one word for a model is `policy.fleet.model_state`'s, the reason `policy.fleet.placement_reason`'s.
"""

import dataclasses
from typing import Any

from cluster.planner.engine_groups import pools
from configs.schema import Config, Model
from deployments.lifecycle.operator_pages import Replicas
from deployments.policy.fleet.model_state import ModelState, Standing, standing
from deployments.policy.fleet.placement_reason import why_pending
from deployments.ray_calls.names import ENGINE, app_name
from deployments.ray_calls.pending import pending, room


def survey(config: Config, known: Replicas) -> dict[str, Standing]:
    """Returns the state of every model, with a reason where an engine of it waits for a place; `known` are the replicas of a gateway."""
    from ray import serve

    applications = serve.status().applications
    found = {
        one.id: _reasoned(_standing(applications.get(app_name(one.id)), known.get(one.id, []), one), one) for one in pools(config.models)
    }
    stopped = {model.id: Standing(ModelState.STOPPED, 0, 0) for model in config.models if model.stopped}
    return found | stopped


def _reasoned(found: Standing, model: Model) -> Standing:
    """Adds the reason, which is asked for only where replicas are missing."""
    if found.running >= found.target:
        return found
    demand = pending(app_name(model.id))
    return found if demand is None else dataclasses.replace(found, why=why_pending(demand, room()))


def _standing(application: Any, replicas: list[dict[str, Any]], model: Model) -> Standing:  # noqa: ANN401
    counts: dict[str, int] = {}
    if application is not None and ENGINE in application.deployments:
        counts = {str(state): count for state, count in application.deployments[ENGINE].replica_states.items()}
    ready = sum(replica["state"] == "ready" for replica in replicas)
    ongoing = sum(replica["ongoing"] for replica in replicas)
    said, wanted, ranks = None if application is None else str(application.status.value), model.scale.min_replicas, model.parallel.data
    return standing(said, counts, ready, wanted, ongoing, ranks)
