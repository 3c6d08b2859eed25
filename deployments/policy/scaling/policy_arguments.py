"""The arguments of a model's scaling policy, apart from what is declared to Ray Serve.

Decides where it goes. Ray Serve takes a policy's arguments for a part of its application's code: a change of them would make all engines of
the model anew. So Ray Serve is told the policy alone, and its arguments are kept in the cluster's store, under the application's name.
"""

import json
from collections.abc import Mapping
from typing import Any

Declared = Mapping[str, Any]


def key(application: str) -> str:
    """Returns the name under which the arguments of an application's policy are kept."""
    return f"scaling_policy/{application}"


def apart(declared: Declared) -> tuple[Declared, dict[str, str]]:
    """Returns what is declared without the arguments of any policy, and these as texts, by the names to keep them under."""
    applications = declared["applications"]
    told = {key(one["name"]): json.dumps(found, sort_keys=True) for one in applications if (found := _arguments(one)) is not None}
    return {**declared, "applications": [_without(one) for one in applications]}, told


def _arguments(application: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found = (_policy(deployment).get("policy_kwargs") for deployment in application["deployments"])
    return next((one for one in found if one is not None), None)


def _without(application: Mapping[str, Any]) -> dict[str, Any]:
    return {**application, "deployments": [_alone(deployment) for deployment in application["deployments"]]}


def _alone(deployment: Mapping[str, Any]) -> Mapping[str, Any]:
    if not _policy(deployment):
        return deployment
    policy = {name: value for name, value in _policy(deployment).items() if name != "policy_kwargs"}
    return {**deployment, "autoscaling_config": {**deployment["autoscaling_config"], "policy": policy}}


def _policy(deployment: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (deployment.get("autoscaling_config") or {}).get("policy") or {}
    return found
