"""`deployments.policy.scaling.policy_arguments`: Ray Serve is told the policy, and only the policy its arguments."""

import json
from typing import Any

from deployments.policy.scaling import policy_arguments


def herd(*deployments: dict[str, Any]) -> dict[str, Any]:
    return {"proxy_location": "Disabled", "applications": [{"name": "model.a", "args": {"x": 1}, "deployments": list(deployments)}]}


def scaled(**policy: Any) -> dict[str, Any]:
    return {"name": "engine", "autoscaling_config": {"min_replicas": 1, "policy": {"policy_function": "f", **policy}}}


def test_arguments_of_a_policy_are_kept_apart() -> None:
    alone, told = policy_arguments.apart(herd(scaled(policy_kwargs={"wanted": 5})))
    assert alone == herd(scaled())
    assert {name: json.loads(text) for name, text in told.items()} == {"scaling_policy/model.a": {"wanted": 5}}


def test_applications_without_a_policy_stay_as_they_are() -> None:
    for one in (herd({"name": "gateway", "num_replicas": 2}), herd({"name": "engine", "autoscaling_config": {"min_replicas": 1}}), herd()):
        assert policy_arguments.apart(one) == (one, {})
