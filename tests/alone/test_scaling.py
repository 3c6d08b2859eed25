"""Ray Serve's own code keeps a scaled model's number of replicas over a later `herd up`, and takes what its policy says at once.

No cluster runs.
"""

import inspect
from typing import Any

import pytest
from ray.serve._private.autoscaling_state import DeploymentAutoscalingState
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve._private.config import DeploymentConfig, ReplicaConfig
from ray.serve._private.deploy_utils import get_app_code_version
from ray.serve._private.deployment_info import DeploymentInfo
from ray.serve._private.deployment_state import DeploymentTargetState
from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

from configs.schema import Model
from deployments.lifecycle.applications import declared
from deployments.policy.scaling import policy_arguments
from deployments.ray_calls.names import ENGINE, app_name
from tests.unit.samples import config, model

#: What Ray Serve takes for the target of a deployment that is new.
NEW = DeploymentTargetState.default().target_num_replicas
SCALED = model(scaling={"min_replicas": 1, "max_replicas": 8})


class Replica:
    """The class of a deployment that never starts."""


def application(wanted: Model) -> ServeApplicationSchema:
    """A model as Ray Serve is told of it."""
    alone, _ = policy_arguments.apart(declared(config(wanted), 1, {}).model_dump(mode="json", exclude_unset=True))
    return next(one for one in ServeDeploySchema.model_validate(alone).applications if one.name == app_name(wanted.id))


def info(wanted: Model, version: str = "1") -> DeploymentInfo:
    """What Ray Serve makes of a model that is declared to it."""
    options = application(wanted).deployments[0].model_dump(exclude_unset=True)
    known = {name: options[name] for name in ("autoscaling_config", "graceful_shutdown_timeout_s", "max_surge_percent")}
    made = DeploymentConfig.from_default(**known)
    return DeploymentInfo(made, ReplicaConfig.create(Replica), start_time_ms=0, deployer_job_id="", version=version)


@pytest.fixture
def state() -> DeploymentAutoscalingState:
    return DeploymentAutoscalingState(DeploymentID(ENGINE, app_name(SCALED.id)))


def code_version(wanted: Model) -> str:
    """The version by which Ray Serve tells whether a model's engines have to be made anew."""
    return str(get_app_code_version(application(wanted)))


def test_engines_outlive_a_change_of_how_their_number_is_decided() -> None:
    for other in ({"min_replicas": 2, "max_replicas": 8}, {"min_replicas": 1, "max_replicas": 8, "clear_s": 5}):
        assert code_version(model(scaling=other)) == code_version(SCALED)
    assert code_version(model(replicas=2)) == code_version(SCALED), "from a range to a number"
    assert code_version(SCALED.model_copy(update={"context_tokens": 1024})) != code_version(SCALED), "that is what an engine is made of"


def test_new_model_starts_with_its_minimum(state: DeploymentAutoscalingState) -> None:
    assert state.register(info(model(scaling={"min_replicas": 2, "max_replicas": 8})), NEW) == 2


def test_model_that_may_have_no_replica_begins_with_none(state: DeploymentAutoscalingState) -> None:
    zero = model(scaling={"min_replicas": 0, "max_replicas": 8})
    assert state.register(info(zero), NEW) == 0
    assert state.register(info(zero, "2"), 0) == 0, "new engines start none"
    assert state.register(info(zero), 3) == 3, "a later `herd up` takes none away"


@pytest.mark.parametrize(
    ("later", "version", "count"),
    [
        (SCALED, "1", 5),
        (SCALED, "2", 5),
        (model(scaling={"min_replicas": 1, "max_replicas": 8}, stop_s=7), "1", 5),
        (model(scaling={"min_replicas": 1, "max_replicas": 9}), "1", 5),
        (model(scaling={"min_replicas": 1, "max_replicas": 3}), "1", 3),
        (model(scaling={"min_replicas": 6, "max_replicas": 8}), "1", 6),
    ],
    ids=["unchanged", "new engines", "unrelated change", "wider range", "lower maximum", "higher minimum"],
)
def test_scaled_model_keeps_its_count_over_a_later_up(state: DeploymentAutoscalingState, later: Model, version: str, count: int) -> None:
    state.register(info(SCALED), NEW)
    assert state.register(info(later, version), 5) == count


def test_scaled_model_keeps_its_count_when_serves_controller_starts_again(state: DeploymentAutoscalingState) -> None:
    assert state.register(info(SCALED), 5) == 5, "a new controller takes the target from its checkpoint"


def test_trap_2_target_that_was_scaled_survives_a_change_of_what_the_policy_is_told(state: DeploymentAutoscalingState) -> None:
    state.register(info(SCALED), NEW)
    changed = model(scaling={"min_replicas": 1, "max_replicas": 8, "patience_s": 30})
    assert state.register(info(changed), 5) == 5


def test_policy_that_knows_nothing_holds_the_target_through_rays_own_wrapper(state: DeploymentAutoscalingState) -> None:
    """Trap 1: what it returns for an unknown load is the target, and not the replicas that run."""
    state.register(info(SCALED), NEW)
    state.update_running_replica_ids([ReplicaID("a", DeploymentID(ENGINE, app_name(SCALED.id)))])
    assert state.get_decision_num_replicas(4) == 4


class Five:
    """A follower that has decided on five, for a policy that is always told the same."""

    def number(self, _context: Any) -> int:
        return 5

    def text(self) -> str:
        return ""


@pytest.mark.parametrize("target", [0, 1, 4, 6])
def test_trap_6_number_that_is_decided_is_the_target_at_once(state: DeploymentAutoscalingState, target: int) -> None:
    """Ray's delays are 0, and from no replica to several it takes one step."""
    state.register(info(SCALED), NEW)
    policy = inspect.unwrap(state._policy)
    policy._follower = policy._arguments = Five()
    assert state.get_decision_num_replicas(target) == 5
