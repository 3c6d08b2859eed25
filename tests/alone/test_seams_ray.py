"""What Ray does not document and the herd relies on is in the Ray that is installed, as each of our files takes it.

A new version of Ray fails here in seconds, with the name of the file to look at.
"""

import inspect
import re
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import ray
from ray._common.constants import HEAD_NODE_RESOURCE_NAME
from ray._private import ray_constants, state
from ray.core.generated import autoscaler_pb2, common_pb2, gcs_service_pb2
from ray.scripts import scripts
from ray.serve._private import common as serve_common
from ray.serve._private import constants as serve_constants
from ray.serve._private import deployment_scheduler, deployment_state
from ray.serve._private import replica as serve_replica
from ray.serve._private import router as serve_router
from ray.util.accelerators import accelerators

from configs.cross_checks import FIRST_WORKER_PORT, LAST_WORKER_PORT, RAYS_PORTS
from configs.names import Accelerator
from deployments.lifecycle.applications import QUIET
from deployments.ray_calls.names import ENGINE, accelerator_type, app_name
from deployments.ray_calls.nodes import HEAD, TOLD_TO_END
from deployments.ray_calls.pending import GANG, REPLICA, WAITING
from deployments.ray_calls.ray_guard import HARMLESS
from tests.alone import vllm_itself
from tests.alone.seams import ROOT, Seam, imported, told, unlisted

RAY = Path(ray.__file__).parent
#: Variables of our own shell commands that begin like Ray's.
SET_BY_US = {"RAY_HEAD_IP"}

SEAMS = [
    Seam("ray_calls/serve_api", "ray.serve.context:_get_global_client", takes=("raise_if_no_controller_running",)),
    Seam("ray_calls/serve_api", "ray.serve._private.client:ServeControllerClient.delete_apps", takes=("self", "names", "blocking")),
    Seam("ray_calls/serve_api", "ray.serve._private.client:ServeControllerClient.deploy_apps", takes=("self", "config", "_blocking")),
    Seam("ray_calls/serve_api", "ray.serve._private.client:ServeControllerClient.get_serve_details", takes=("self",)),
    Seam("ray_calls/serve_api", "ray.serve:start", has=("proxy_location",)),
    Seam("ray_calls/serve_api", "ray.serve:status", takes=()),
    Seam("ray_calls/serve_api", "ray.serve.schema:ServeDeploySchema", has=("applications", "proxy_location", "logging_config")),
    Seam("ray_calls/serve_api", "ray.serve.schema:ServeStatus", has=("applications",)),
    Seam("ray_calls/serve_api", "ray.serve.schema:ApplicationStatusOverview", has=("status", "message", "deployments")),
    Seam("ray_calls/serve_api", "ray.serve.schema:DeploymentStatusOverview", has=("message", "replica_states")),
    Seam("ray_calls/serve_api", "ray.serve.schema:ReplicaDetails", has=("replica_id", "state", "node_ip", "start_time_s")),
    Seam("ray_calls/nodes", "ray._private:worker"),
    Seam("ray_calls/nodes", "ray._private.node:Node.get_logs_dir_path", takes=("self",)),
    Seam("ray_calls/serve_api", "ray.util:placement_group", has=("bundles", "strategy", "bundle_label_selector")),
    Seam("ray_calls/serve_api", "ray.util.placement_group:PlacementGroup.wait", has=("timeout_seconds",)),
    Seam("ray_calls/serve_api", "ray.util:remove_placement_group", takes=("placement_group",)),
    Seam("ray_calls/broadcast", "ray.serve:get_deployment_handle", has=("deployment_name", "app_name")),
    Seam("ray_calls/broadcast", "ray.serve.handle:DeploymentHandle.broadcast", takes=("self", "method_name", "args", "kwargs")),
    Seam(
        "ray_calls/broadcast",
        "ray.serve.handle:DeploymentBroadcastResponse.results_async",
        takes=("self", "timeout_s", "return_exceptions"),
    ),
    Seam("ray_calls/broadcast", "ray.serve.exceptions:DeploymentUnavailableError"),
    Seam("ray_calls/broadcast", "ray.serve.exceptions:RayServeException"),
    Seam("ray_calls/broadcast", "ray.serve.schema:ServeStatus", has=("applications",)),
    Seam("ray_calls/broadcast", "ray.exceptions:RayError"),
    Seam("ray_calls/broadcast", "ray:get_actor", has=("name", "namespace")),
    Seam("ray_calls/broadcast", "ray.exceptions:RayError"),
    Seam("ray_calls/broadcast", "ray.serve._private.common:DeploymentID", has=("name", "app_name")),
    Seam("ray_calls/broadcast", "ray.serve._private.constants:SERVE_CONTROLLER_NAME"),
    Seam("ray_calls/broadcast", "ray.serve._private.constants:SERVE_NAMESPACE"),
    Seam("ray_calls/broadcast", "ray.serve._private.long_poll:LongPollNamespace.DEPLOYMENT_TARGETS"),
    Seam("ray_calls/broadcast", "ray.serve._private.long_poll:UpdatedObject", has=("snapshot_id",)),
    Seam(
        "ray_calls/broadcast",
        "ray.serve._private.controller:ServeController.listen_for_change",
        takes=("self", "keys_to_snapshot_ids"),
    ),
    Seam("ray_calls/cluster_store", "ray.experimental.internal_kv:_internal_kv_put", has=("key", "value", "overwrite", "namespace")),
    Seam("ray_calls/cluster_store", "ray.experimental.internal_kv:_internal_kv_get", has=("key", "namespace")),
    Seam("ray_calls/cluster_store", "ray.experimental.internal_kv:_internal_kv_del", has=("key", "namespace")),
    Seam("ray_calls/cluster_store", "ray.experimental.internal_kv:_internal_kv_list", has=("prefix", "namespace")),
    Seam("ray_calls/cluster_store", "ray.experimental.internal_kv:internal_kv_get_gcs_client", takes=()),
    Seam("ray_calls/cluster_store", "ray._raylet:InnerGcsClient.internal_kv_multi_get", has=("keys", "namespace")),
    Seam("ray_calls/start_head", "ray._private.services:start_ray_process", has=("command", "env_updates")),
    Seam("ray_calls/start_head", "ray._private.services:start_raylet", has=("redis_password",)),
    Seam("ray_calls/start_head", "ray.scripts:scripts"),
    Seam("ray_calls/drain", "ray._raylet:GcsClient"),
    Seam(
        "ray_calls/drain",
        "ray._raylet:InnerGcsClient.drain_node",
        takes=("self", "node_id", "reason", "reason_message", "deadline_timestamp_ms", "timeout"),
    ),
    Seam("ray_calls/drain", "ray._raylet:InnerGcsClient.get_draining_nodes", takes=("self", "timeout")),
    Seam("ray_calls/drain", "ray.core.generated:autoscaler_pb2"),
    Seam("ray_calls/drain", "ray.runtime_context:RuntimeContext", has=("gcs_address",)),
    Seam("ray_calls/ray_guard", "ray._raylet:AuthenticationTokenLoader", has=("instance", "has_token", "get_token_for_http_header")),
    Seam("ray_calls/jobs", "ray._private.state:state"),
    Seam("ray_calls/jobs", "ray._private.state:GlobalState.job_table", takes=("self",)),
    Seam("ray_calls/jobs", "ray.runtime_context:RuntimeContext", has=("get_job_id",)),
    Seam("ray_calls/nodes", "ray:nodes", takes=()),
    Seam("ray_calls/nodes", "ray.runtime_context:RuntimeContext", has=("get_node_id",)),
    Seam("ray_calls/nodes", "ray.util:get_current_placement_group", takes=()),
    Seam("ray_calls/nodes", "ray.util:placement_group_table", takes=("placement_group",)),
    Seam("ray_calls/nodes", "ray._private.state:available_resources_per_node", takes=()),
    Seam("ray_calls/pending", "ray.util:placement_group_table", takes=("placement_group",)),
    Seam(
        "ray_calls/scaling_policy", "ray.serve.config:AutoscalingContext", has=("target_num_replicas", "current_num_replicas", "app_name")
    ),
    Seam(
        "ray_calls/scaling_rules/default",
        "ray.serve.autoscaling_policy:_apply_delay_logic",
        takes=("desired_num_replicas", "curr_target_num_replicas", "config", "policy_state", "_now"),
    ),
    Seam(
        "ray_calls/scaling_rules/default",
        "ray.serve.autoscaling_policy:_apply_scaling_factors",
        takes=("desired_num_replicas", "current_num_replicas", "autoscaling_config"),
    ),
    Seam("ray_calls/scaling_rules/default", "ray.serve.config:AutoscalingConfig", has=("min_replicas", "max_replicas")),
    Seam("ray_calls/scaling_rules/default", "ray.serve.autoscaling_policy:_core_replica_queue_length_policy", takes=("ctx",)),
    Seam("lifecycle/applications", "ray.serve.config:AutoscalingConfig", has=("upscale_delay_s", "downscale_to_zero_delay_s")),
    Seam("engine/replica", "ray.util:get_node_ip_address", takes=("address",)),
    Seam("engine/replica", "ray.serve.context:ReplicaContext", has=("replica_id",)),
    Seam("engine/replica", "ray.serve._private.common:ReplicaID", has=("unique_id",)),
    Seam("lifecycle/applications", "ray.serve.config:GangSchedulingConfig", has=("gang_size", "gang_placement_strategy")),
    Seam("lifecycle/applications", "ray.serve.config:GangPlacementStrategy.PACK"),
    Seam("lifecycle/applications", "ray.serve.config:GangRuntimeFailurePolicy.RESTART_GANG"),
]
#: Those whose import takes as long as vLLM's.
OF_ENGINES = [
    Seam("ray_calls/llm_server", "ray.serve.llm.deployment:LLMServer.__init__", has=("self", "llm_config")),
    Seam("ray_calls/llm_server", "ray.serve.llm.deployment:LLMServer._start_engine", takes=("self",)),
    Seam("ray_calls/llm_server", "ray.serve.llm.deployment:LLMServer.__serve_build_asgi_app__", takes=("self",)),
    Seam("ray_calls/llm_server", "ray.serve.llm.deployment:LLMServer.check_health", takes=("self",)),
    Seam("ray_calls/llm_server", "ray.serve.llm.deployment:LLMServer.__del__", takes=("self",)),
    Seam("ray_calls/llm_server", "ray.serve.llm.deployment:LLMServer", has=("engine",)),
    Seam("ray_calls/llm_server", "ray.serve.llm.deployment:DPServer.__init__", has=("self", "llm_config")),
    Seam("ray_calls/llm_server", "ray.llm._internal.serve.engines.vllm.vllm_engine:VLLMEngine", has=("_engine_client",)),
    Seam("ray_calls/llm_server", "ray.llm._internal.serve.engines.vllm.vllm_engine:VLLMEngine.start", takes=("self",)),
    Seam("ray_calls/llm_config", "ray.serve.llm:LLMConfig", has=("model_loading_config", "engine_kwargs")),
    Seam("ray_calls/llm_config", "ray.serve.llm:LLMConfig.get_or_create_callback", takes=("self",)),
    Seam("ray_calls/llm_config", "ray.serve.llm:LLMConfig.get_engine_config", takes=("self",)),
    Seam("ray_calls/llm_config", "ray.serve.llm:LLMConfig.update_engine_kwargs", takes=("self", "kwargs")),
    Seam("ray_calls/llm_config", "ray.llm._internal.common.callbacks.base:CallbackBase", has=("ctx",)),
    Seam("ray_calls/llm_config", "ray.llm._internal.common.callbacks.base:CallbackCtx", has=("run_init_node",)),
    Seam(
        "ray_calls/llm_config",
        "ray.llm._internal.serve.engines.vllm.vllm_models:VLLMEngineConfig",
        has=("hf_model_id", "mirror_config", "engine_kwargs"),
    ),
]


@cache
def compiled() -> bytes:
    """Returns the part of Ray that is made in C++."""
    return (RAY / "_raylet.so").read_bytes()


@pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: seam.name)
def test_ray_still_has(seam: Seam) -> None:
    assert seam.wrong(told([seam.name])[0]) is None


@pytest.fixture(scope="module")
def of_engines() -> dict[str, dict[str, list[str]] | None]:
    names = [seam.name for seam in OF_ENGINES]
    return dict(zip(names, vllm_itself.ask("seams", names), strict=True))


@pytest.mark.parametrize("seam", OF_ENGINES, ids=lambda seam: seam.name)
def test_rays_layer_over_vllm_still_has(of_engines: dict[str, dict[str, list[str]] | None], seam: Seam) -> None:
    assert seam.wrong(of_engines[seam.name]) is None


def test_every_import_of_ray_in_its_room_is_held_here() -> None:
    assert unlisted([*SEAMS, *OF_ENGINES], imported("ray_calls", "ray")) == set()


def test_every_seam_is_in_a_file_of_ours() -> None:
    assert all((ROOT / "deployments" / f"{seam.used_by}.py").exists() for seam in [*SEAMS, *OF_ENGINES])


def test_ray_calls_each_gpu_as_it_is_asked_for() -> None:
    """`deployments/ray_calls/names.py`."""
    known = {value for name, value in vars(accelerators).items() if isinstance(value, str) and not name.startswith("_")}
    named = set(get_args(Accelerator)) - {"auto", "cpu", "gpu"}
    assert {accelerator_type(one) for one in named} <= known


def test_ray_serve_calls_the_groups_of_replicas_and_gangs_as_they_are_looked_for() -> None:
    """`deployments/ray_calls/pending.py`."""
    assert (serve_common.REPLICA_ID_FULL_ID_STR_PREFIX, serve_common.GANG_PG_NAME_PREFIX) == (REPLICA, GANG)
    called = serve_common.ReplicaID("abc", serve_common.DeploymentID(ENGINE, app_name("org/a"))).to_full_id_str()
    assert called == f"{REPLICA}{app_name('org/a')}#{ENGINE}#abc"
    of_gang = inspect.getsource(deployment_scheduler)
    assert re.search(r'GANG_PG_NAME_PREFIX\}\{deployment_id\.app_name\}"\s+f"_\{deployment_id\.name\}"', of_gang)
    assert 'name=scheduling_request.actor_options["name"]' in of_gang, "a replica's group is called as its actor"


def test_ray_tells_of_waiting_groups_with_their_bundles() -> None:
    """`deployments/ray_calls/pending.py`."""
    told = inspect.getsource(state.GlobalState._gen_placement_group_info)
    for name in ("state", "name", "bundles", "strategy", *WAITING):
        assert f'"{name}"' in told + inspect.getsource(state), name


def test_ray_takes_the_ports_that_a_gateway_is_kept_from() -> None:
    """`configs/cross_checks.py`."""
    defaults = {one.name: one.default for one in scripts.start.params}
    assert (defaults["min_worker_port"], defaults["max_worker_port"]) == (FIRST_WORKER_PORT, LAST_WORKER_PORT)
    own = {ray_constants.DEFAULT_PORT, defaults["dashboard_port"], defaults["dashboard_agent_listen_port"]}
    assert own | {FIRST_WORKER_PORT - 1} == set(RAYS_PORTS), "the port of Ray's clients has no name of its own"


def test_ray_drains_a_node_for_the_reason_that_is_never_refused() -> None:
    """`deployments/ray_calls/drain.py`."""
    assert "DRAIN_NODE_REASON_PREEMPTION" in autoscaler_pb2.DrainNodeReason.keys()  # noqa: SIM118 (protobuf's own kind of enum)


def test_gcs_has_the_call_that_tells_whether_ray_asks_for_a_token() -> None:
    """`deployments/ray_calls/ray_guard.py`."""
    service, method = HARMLESS.removeprefix("/ray.rpc.").split("/")
    assert method in gcs_service_pb2.DESCRIPTOR.services_by_name[service].methods_by_name


def test_ray_calls_its_head_as_we_do() -> None:
    """`deployments/ray_calls/nodes.py`."""
    assert HEAD_NODE_RESOURCE_NAME == HEAD


def test_ray_tells_of_nodes_by_the_names_that_we_read() -> None:
    """`deployments/ray_calls/nodes.py`; the mappings are made in C++."""
    of_table = (b"NodeManagerHostname", b"MetricsExportPort", b"DeathReason")
    names = (b"NodeID", b"Alive", b"NodeManagerAddress", b"Resources", b"Labels", *of_table)
    assert [name for name in names if name not in compiled()] == []
    assert '"bundles_to_node_id"' in inspect.getsource(state)


def test_ray_numbers_the_ends_of_nodes_as_we_do() -> None:
    """`deployments/ray_calls/nodes.py`."""
    ends = ("EXPECTED_TERMINATION", "AUTOSCALER_DRAIN_PREEMPTED", "AUTOSCALER_DRAIN_IDLE")
    assert tuple(map(common_pb2.NodeDeathInfo.Reason.Value, ends)) == TOLD_TO_END


def test_ray_serve_awaits_constructors_and_destructors() -> None:
    """`deployments/engine/replica.py` and `deployments/gateway/process.py` have an `async __init__` or `__del__`."""
    wrapper = serve_replica.UserCallableWrapper
    assert "await self._call_func_or_gen(\n                self._callable.__init__" in inspect.getsource(wrapper.initialize_callable)
    assert "await self._call_func_or_gen(\n                    self._callable.__del__" in inspect.getsource(wrapper.call_destructor)


def test_ray_serve_tells_of_replicas_by_deployment_and_takes_zero_for_no_timer() -> None:
    """`deployments/ray_calls/broadcast.py` and `deployments/lifecycle/applications.py`."""
    told = inspect.getsource(deployment_state)
    assert re.search(r"LongPollNamespace\.DEPLOYMENT_TARGETS,\s+self\._id,", told), "by the whole id"
    (name,) = QUIET
    assert name in inspect.getsource(serve_constants)
    assert f"{name} != 0" in inspect.getsource(serve_router)
    assert f"{name} != 0" in inspect.getsource(serve_replica)


def test_ray_start_takes_the_options_of_a_node_of_our_own() -> None:
    """`cluster/machine/local_node.py` speaks to Ray by command line: `cluster` imports no room of `deployments`."""
    source = (ROOT / "cluster/machine/local_node.py").read_text(encoding="utf-8")
    asked = set(re.findall(r'"(--[a-z-]+)"', source))
    assert len(asked) > 10
    assert asked <= {option for parameter in scripts.start.params for option in parameter.opts}
    assert "Ray runtime started" in source
    assert "Ray runtime started" in inspect.getsource(scripts)


def test_ray_reads_the_variables_that_its_processes_are_started_with() -> None:
    """`cluster/machine/local_node.py` and `cluster/provision`; Ray's C++ knows a variable without its beginning."""
    ours = [ROOT / "cluster/machine/local_node.py", *(ROOT / "cluster/provision").glob("*.py")]
    asked = {name for path in ours for name in re.findall(r"\bRAY_\w+", path.read_text(encoding="utf-8"))} - SET_BY_US
    python = "".join(path.read_text(encoding="utf-8") for part in ("_private", "_common", "scripts") for path in (RAY / part).rglob("*.py"))
    assert [name for name in sorted(asked) if name not in python and name.removeprefix("RAY_").encode() not in compiled()] == []
